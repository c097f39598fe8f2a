// SPDX-License-Identifier: MIT
#include "model/model_store.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <set>
#include <span>

#include "base/notice.h"
#include "base/sha256.h"
#include "model/gguf_model.h"
#include "model/manifest.h"
#include "os/draft_file.h"
#include "os/file.h"
#include "os/file_error.h"
#include "os/folder.h"

namespace spillway {
namespace {

namespace fs = std::filesystem;

// How the name of a blob on its way in begins; and ends, where its content is a file's of somebody.
constexpr const char *kDraft = ".draft-", *kAdopted = "-adopted";
constexpr const char* kPartial = "-partial";  // how that of one that is fetched ends

Failure can_not_look(const std::string& path, const std::error_code& ec) {
  const bool refused = ec == std::errc::permission_denied || ec == std::errc::operation_not_permitted;
  return error(refused ? Code::kPermissionDenied : Code::kIo, fmt::format("{}: {}", path, ec.message()));
}

// Names of what is in `folder`, sorted; none where there is no such folder. Hidden ones are nobody's model.
//   PermissionDenied  Io   it can not be looked into
Result<std::vector<std::string>> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code ec;
  for (fs::directory_iterator it(folder, ec), end; !ec && it != end; it.increment(ec)) {
    std::string name = it->path().filename().string();
    if (!name.starts_with('.')) names.push_back(std::move(name));
  }
  if (ec && ec != std::errc::no_such_file_or_directory && ec != std::errc::not_a_directory)
    return can_not_look(folder, ec);
  std::sort(names.begin(), names.end());
  return names;
}

// Every file below `root`, under whatever names: also hidden ones, and such as no model can have.
//   PermissionDenied  Io   something of it can not be looked at
Result<std::vector<std::string>> all_files_below(const std::string& root) {
  std::error_code ec;
  if (fs::symlink_status(root, ec).type() == fs::file_type::not_found) return std::vector<std::string>();
  std::vector<std::string> files, folders{root};
  std::set<std::string> known;  // links may lead in circles
  while (!folders.empty()) {
    const std::string folder = std::move(folders.back());
    folders.pop_back();
    const std::string real = fs::canonical(folder, ec).string();
    if (ec == std::errc::no_such_file_or_directory) continue;  // removed meanwhile
    if (ec) return can_not_look(folder, ec);
    if (!known.insert(real).second) continue;
    fs::directory_iterator it(folder, ec);
    for (const fs::directory_iterator end; !ec && it != end; it.increment(ec)) {
      const std::string path = it->path().string();
      std::error_code unseen;
      const fs::file_type type = fs::status(path, unseen).type();
      // Somebody removed it meanwhile; a link that leads nowhere may lead somewhere else tomorrow.
      std::error_code gone;
      if (unseen == std::errc::no_such_file_or_directory && !fs::is_symlink(path, gone)) continue;
      if (unseen) return can_not_look(path, unseen);
      // What is neither file nor folder, such as a pipe, is nobody's manifest.
      if (type == fs::file_type::regular) files.push_back(path);
      if (type == fs::file_type::directory) folders.push_back(path);
    }
    if (ec) return can_not_look(folder, ec);
  }
  return files;
}

//   PermissionDenied  Io   nobody knows
Result<bool> is_file(const std::string& path) {
  std::error_code ec;
  const fs::file_type type = fs::status(path, ec).type();
  if (type == fs::file_type::none) return can_not_look(path, ec);
  return type == fs::file_type::regular;
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

// Of every manifest, whatever it is called. One that can not be read, or is in a folder that can not, may use anything.
Result<BlobUses> uses_below(const std::string& manifests) {
  ASSIGN_OR_RETURN(const std::vector<std::string> paths, all_files_below(manifests));
  BlobUses uses;
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kManifestBytesMax));
    const auto manifest = parse_manifest(text);
    if (!manifest) return Failure(manifest.error().with_context(path));
    for (const std::string& digest : manifest->digests()) ++uses[digest];
  }
  return uses;
}

int n_uses(const BlobUses& uses, const std::string& digest) {
  const auto found = uses.find(digest);
  return found == uses.end() ? 0 : found->second;
}

std::vector<std::string> unused_of(const BlobUses& uses, const std::vector<std::string>& digests) {
  std::vector<std::string> unused;
  for (const std::string& digest : digests)
    if (n_uses(uses, digest) <= 0) unused.push_back(digest);
  return unused;
}

// What was made last of what is at `path`, and how long ago: the content, or the name. A link to a file is as old as
// the link, whatever the file's date is. None where there is nothing.
std::optional<double> age_s(const std::string& path) {
  struct stat facts {};
  if (::lstat(path.c_str(), &facts) != 0) return std::nullopt;
  const auto seconds = [](const timespec& at) {
    return static_cast<double>(at.tv_sec) + 1e-9 * static_cast<double>(at.tv_nsec);
  };
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return seconds(now) - std::max(seconds(facts.st_mtim), seconds(facts.st_ctim));
}

// Two that make the same link at once make the same link.
//   PermissionDenied  DiskFull  Io
Result<void> make_link(const std::string& target, const std::string& link) {
  static std::atomic<unsigned> drafts{0};
  std::error_code ec, ignored;
  if (fs::read_symlink(link, ec) == target) return {};
  const std::string folder = fs::path(link).parent_path().string();
  const std::string draft = fmt::format("{}.{}-{}", link, ::getpid(), drafts++);
  // Somebody who removes the last link of a model that is gone takes the folder with it.
  for (int attempt = 0; attempt < 3; ++attempt) {
    fs::create_directories(folder, ec);
    if (ec) return write_error(folder, "make the folder", ec.value());
    fs::remove(draft, ignored);  // of a process that had our number and crashed
    fs::create_symlink(target, draft, ec);
    if (!ec) fs::rename(draft, link, ec);
    if (!ec) return {};
    if (ec != std::errc::no_such_file_or_directory) break;
  }
  fs::remove(draft, ignored);
  return write_error(link, "link", ec.value());
}

// Whether what was made of the file's path is of that file, which was read: another may have taken its place meanwhile.
//   Changed  NotFound  PermissionDenied  Io
Result<void> check_is_of_file(const std::string& draft, bool is_link, const File& file) {
  RETURN_IF_ERROR(file.check_in_place());
  if (!is_link) return {};
  ASSIGN_OR_RETURN(const FileIdentity linked, identify_file(draft));
  if (linked == file.identity()) return {};
  return error(Code::kChanged, fmt::format("{}: the file was replaced while it was read", file.path()));
}

// A blob on its way in. Its draft is anybody's: only the content decides what it becomes.
class StoreBlobWriter : public BlobWriter {
 public:
  StoreBlobWriter(const ModelStore& store, DraftFile draft, std::string_view digest)
      : store_(store.folder()), promised_(digest), draft_(std::move(draft)) {}
  ~StoreBlobWriter() override {
    if (draft_) draft_->discard();
  }

  Result<void> write(std::string_view piece) override {
    hash_.add(piece);
    return draft_->append(piece);
  }

  Result<std::string> finish() override {
    const std::string digest = "sha256:" + hash_.hex();
    if (!promised_.empty() && digest != promised_)
      return error(Code::kInvalidArgument,
                   fmt::format("digest mismatch: expected {}, the content has {}", promised_, digest));
    // A blob that is there is left alone: a model may be loaded from it, and another file in its place is another model
    // to the process that holds it open. One that is damaged is mended.
    if (store_.has_whole_blob(digest, draft_->size_bytes()))
      draft_->discard();
    else
      RETURN_IF_ERROR(draft_->publish(store_.own_blob_path(digest)));
    draft_.reset();
    return digest;
  }

 private:
  const ModelStore store_;
  const std::string promised_;
  std::optional<DraftFile> draft_;
  Sha256 hash_;
};

}  // namespace

ModelStore::ModelStore(std::string folder, std::vector<std::string> borrowed, KeepTimes keep)
    : folder_(std::move(folder)), borrowed_(std::move(borrowed)), keep_(keep) {}

// ---- reading ----

StoreListing ModelStore::list() const {
  StoreListing listing;
  if (folder_.empty()) return listing;
  const auto names = [&](const std::string& folder) {
    auto found = names_in(folder);
    if (!found && !listing.unread) listing.unread = found.error();
    return found ? std::move(*found) : std::vector<std::string>();
  };
  const std::string root = folder_ + "/manifests";
  for (const std::string& host : names(root))
    for (const std::string& name_space : names(fmt::format("{}/{}", root, host)))
      for (const std::string& model : names(fmt::format("{}/{}/{}", root, host, name_space)))
        for (const std::string& tag : names(fmt::format("{}/{}/{}/{}", root, host, name_space, model))) {
          auto name = parse_model_name(fmt::format("{}/{}/{}:{}", host, name_space, model, tag));
          if (!name) continue;
          std::string path = fmt::format("{}/{}", root, name->manifest_path());
          const auto there = is_file(path);
          if (!there && !listing.unread) listing.unread = there.error();
          if (there && *there) listing.models.push_back({std::move(*name), std::move(path)});
        }
  return listing;
}

Result<std::optional<StoredModel>> ModelStore::find(const ModelName& name) const {
  if (folder_.empty()) return std::nullopt;
  auto found = find_on_host(name);
  if (!found || *found || !name.is_hugging_face()) return found;
  ModelName other = name;
  other.host = lower(name.host) == "hf.co" ? "huggingface.co" : "hf.co";
  return find_on_host(other);
}

Result<std::optional<StoredModel>> ModelStore::find_on_host(const ModelName& name) const {
  const std::string root = folder_ + "/manifests";
  std::string path = fmt::format("{}/{}", root, name.manifest_path());
  ASSIGN_OR_RETURN(const bool exact, is_file(path));
  if (exact) return StoredModel{name, std::move(path)};
  // Only folders that fit are looked into: most misses are for models that are nowhere.
  struct Partial {
    std::string path;
    std::vector<std::string> parts;
  };
  std::vector<Partial> found{{root, {}}};
  for (const std::string* part : {&name.host, &name.name_space, &name.model, &name.tag}) {
    std::vector<Partial> next;
    for (const Partial& one : found) {
      ASSIGN_OR_RETURN(const std::vector<std::string> entries, names_in(one.path));
      for (const std::string& entry : entries) {
        if (lower(entry) != lower(*part)) continue;
        next.push_back({one.path + "/" + entry, one.parts});
        next.back().parts.push_back(entry);
      }
    }
    found = std::move(next);
  }
  for (Partial& one : found) {
    ASSIGN_OR_RETURN(const bool there, is_file(one.path));
    if (there)
      return StoredModel{{.host = one.parts[0], .name_space = one.parts[1], .model = one.parts[2], .tag = one.parts[3]},
                         std::move(one.path)};
  }
  return std::nullopt;
}

std::vector<std::string> ModelStore::stores() const {
  std::vector<std::string> all{folder_};
  all.insert(all.end(), borrowed_.begin(), borrowed_.end());
  return all;
}

std::string ModelStore::own_blob_path(std::string_view digest) const {
  return fmt::format("{}/blobs/{}", folder_, blob_file_name(digest));
}

std::string ModelStore::blob_path(std::string_view digest) const {
  std::string own = own_blob_path(digest);
  if (is_file(own).value_or(false)) return own;
  for (const std::string& folder : borrowed_) {
    std::string other = fmt::format("{}/blobs/{}", folder, blob_file_name(digest));
    if (is_file(other).value_or(false)) return other;
  }
  return own;
}

bool ModelStore::has_blob(std::string_view digest) const { return is_file(blob_path(digest)).value_or(false); }

bool ModelStore::has_whole_blob(std::string_view digest, uint64_t bytes) const {
  const std::string path = own_blob_path(digest);
  std::error_code ec;
  const uint64_t has = fs::file_size(path, ec);
  return !ec && has == bytes && is_whole_blob(path, digest);
}

bool ModelStore::has_blob_of_size(uint64_t bytes) const {
  for (const std::string& folder : stores())
    for (const auto& entry : folder_entries(folder + "/blobs")) {
      const std::string name = entry.path().filename().string();
      std::error_code ec;
      if (parse_digest(name) && fs::file_size(fmt::format("{}/blobs/{}", folder, name), ec) == bytes && !ec)
        return true;
    }
  return false;
}

Result<std::string> ModelStore::read_blob(std::string_view digest) const {
  return read_text_file(blob_path(digest), kManifestBytesMax);
}

std::string weights_folder(const std::string& folder) {
  std::string blobs = folder + "/blobs";
  std::error_code ec;
  return fs::is_directory(blobs, ec) ? blobs : folder;
}

bool is_whole_blob(const std::string& path, std::string_view digest) {
  constexpr std::string_view kMagic = "GGUF";
  const auto file = open_file(path, {.direct = false});
  if (!file) return false;
  const bool is_small = (*file)->size_bytes() <= kManifestBytesMax;
  std::string begin(is_small ? (*file)->size_bytes() : kMagic.size(), '\0');
  const auto got = (*file)->read_at(0, std::as_writable_bytes(std::span(begin)));
  if (!got || *got != begin.size()) return false;
  if (is_small) return sha256_hex(begin) == digest_hex(digest);
  return begin != kMagic || check_gguf_file(path);
}

std::string view_folder_name(const Manifest& manifest) {
  const auto parts = manifest.of_kind(LayerKind::kModel);
  if (parts.size() < 2) return "";
  Sha256 hash;
  for (const Layer* part : parts) hash.add(part->digest);
  return hash.hex();
}

Result<std::vector<std::string>> ModelStore::gguf_paths(const Manifest& manifest,
                                                        const std::string& views_folder) const {
  std::vector<std::string> paths;
  for (const Layer* part : manifest.of_kind(LayerKind::kModel)) {
    paths.push_back(blob_path(part->digest));
    ASSIGN_OR_RETURN(const bool there, is_file(paths.back()));
    if (!there) return error(Code::kCorrupt, fmt::format("{}: is missing; pull the model again", paths.back()));
  }
  if (paths.empty()) return error(Code::kUnsupported, "it has no GGUF file");
  if (paths.size() == 1) return paths;

  const std::string view = fmt::format("{}/{}", views_folder, view_folder_name(manifest));
  for (size_t i = 0; i < paths.size(); ++i) {
    const std::string link = fmt::format("{}/model-{:05}-of-{:05}.gguf", view, i + 1, paths.size());
    RETURN_IF_ERROR(make_link(absolute_path(paths[i]), link));  // anew where the blob is in another store now
    paths[i] = link;
  }
  return paths;
}

// ---- writing ----

Result<void> ModelStore::commit(const ModelName& name, const std::string& manifest_text) {
  // What could not be read again is not written.
  if (manifest_text.size() > kManifestBytesMax)
    return error(Code::kInvalidArgument,
                 fmt::format("the model's manifest would be larger than {} bytes", kManifestBytesMax));
  ASSIGN_OR_RETURN(const Manifest manifest, parse_manifest(manifest_text));
  ASSIGN_OR_RETURN(const FolderLock lock, FolderLock::acquire(folder_));
  // 1. Nobody took a blob away since it was written or found.
  for (const std::string& digest : manifest.digests()) {
    ASSIGN_OR_RETURN(const bool there, is_file(blob_path(digest)));
    if (!there) return error(Code::kChanged, fmt::format("{}: was removed meanwhile; try again", blob_path(digest)));
  }

  // 2. The new manifest, in the place of an old one of that name.
  ASSIGN_OR_RETURN(const std::optional<StoredModel> existing, find(name));
  const std::string path =
      existing ? existing->manifest_path : fmt::format("{}/manifests/{}", folder_, name.manifest_path());
  std::vector<std::string> replaced;
  if (existing) {
    const auto text = read_text_file(path, kManifestBytesMax);
    const auto old = text ? parse_manifest(*text) : Result<Manifest>(Failure(text.error()));
    if (old) replaced = old->digests();
  }
  std::error_code ec;
  fs::create_directories(fs::path(path).parent_path(), ec);
  if (ec) return error(Code::kIo, fmt::format("{}: make the folder: {}", path, ec.message()));
  // Not beside the manifest, where it would look like a tag. Whoever left one is gone, as we have the folder's lock;
  // who else has that file locked does not matter.
  fs::remove(folder_ + "/.manifest", ec);
  ASSIGN_OR_RETURN(std::optional<DraftFile> draft, DraftFile::try_open(folder_ + "/.manifest"));
  if (!draft) return error(Code::kIo, fmt::format("{}/.manifest: is in use", folder_));
  auto written = draft->truncate(0);
  if (written) written = draft->append(manifest_text);
  if (written) written = draft->publish(path);
  if (!written) {
    draft->discard();
    return written;
  }

  // 3. What only the old one used.
  remove_unused_locked(replaced);
  return {};
}

Result<void> ModelStore::remove(const ModelName& name) {
  ASSIGN_OR_RETURN(const FolderLock lock, FolderLock::acquire(folder_));
  ASSIGN_OR_RETURN(const std::optional<StoredModel> existing, find(name));
  if (!existing) return error(Code::kNotFound, fmt::format("model '{}' not found", name.shown()));
  const auto text = read_text_file(existing->manifest_path, kManifestBytesMax);
  const auto manifest = text ? parse_manifest(*text) : Result<Manifest>(Failure(text.error()));
  // 1. Who uses what once it is gone: before it goes, as that may show that its weights could not follow.
  std::optional<BlobUses> uses;
  if (manifest) uses = uses_or_notice();
  const std::vector<std::string> digests = manifest ? manifest->digests() : std::vector<std::string>();
  for (const std::string& digest : digests)
    if (uses && --(*uses)[digest] < 0) uses.reset();  // it is another one by now
  if (uses) RETURN_IF_ERROR(check_removable(unused_of(*uses, digests)));

  // 2. The name. Folders that became empty go, up to the host's.
  std::error_code ec;
  fs::remove(existing->manifest_path, ec);
  if (ec) return write_error(existing->manifest_path, "remove", ec.value());
  fs::path parent = fs::path(existing->manifest_path).parent_path();
  for (int level = 0; level < 3 && fs::remove(parent, ec); ++level) parent = parent.parent_path();

  // 3. What it alone used. Of a damaged one, that is not known.
  if (!manifest) uses = uses_or_notice();
  if (!uses) return {};
  remove_blobs(unused_of(*uses, digests));
  remove_orphans_locked(*uses);
  remove_dangling_links(views_folder(), keep_.unused_s);
  return {};
}

std::optional<BlobUses> ModelStore::uses_or_notice() const {
  auto uses = uses_below(folder_ + "/manifests");
  if (uses) return std::move(*uses);
  notice(fmt::format("{}: no files of weights are removed, since another model may use them: {}", folder_,
                     uses.error().message()));
  return std::nullopt;
}

// Whether those of them that are here may go, as far as the folder tells.
Result<void> ModelStore::check_removable(const std::vector<std::string>& digests) const {
  const bool any = std::any_of(digests.begin(), digests.end(), [&](const std::string& digest) {
    std::error_code ec;
    return fs::symlink_status(own_blob_path(digest), ec).type() != fs::file_type::not_found;
  });
  const std::string blobs = folder_ + "/blobs";
  if (any && ::access(blobs.c_str(), W_OK | X_OK) != 0) return write_error(blobs, "remove files of weights", errno);
  return {};
}

void ModelStore::remove_blobs(const std::vector<std::string>& digests) const {
  for (const std::string& digest : digests) {
    std::error_code ec;
    fs::remove(own_blob_path(digest), ec);
    if (ec) notice(fmt::format("{}: stays, although no model uses it: {}", own_blob_path(digest), ec.message()));
  }
}

void ModelStore::remove_unused_locked(const std::vector<std::string>& digests) const {
  if (digests.empty()) return;
  if (const auto uses = uses_or_notice()) remove_blobs(unused_of(*uses, digests));
  remove_dangling_links(views_folder(), keep_.unused_s);
}

// Blobs that nobody uses, and those that nobody goes on fetching. While any of that is young, a model may be on its way
// in, of which the rest are parts that came before: then all of it stays.
void ModelStore::remove_orphans_locked(const BlobUses& uses) const {
  std::error_code ec;
  if (fs::is_symlink(folder_ + "/blobs", ec)) return;  // others may have their models there
  std::vector<std::string> unused, abandoned;
  for (const auto& entry : folder_entries(folder_ + "/blobs")) {
    const std::string path = entry.path().string(), name = entry.path().filename().string();
    const auto digest = parse_digest(name);
    if (digest && n_uses(uses, *digest) > 0) continue;
    if (!digest && !name.starts_with(kDraft) && name.find(kPartial) == std::string::npos) continue;
    const auto age = age_s(path);
    if (!age) continue;
    if (*age < keep_.unused_s) return;
    if (digest) unused.push_back(*digest);
    if (name.ends_with(kPartial) && *age >= keep_.partial_s) abandoned.push_back(path);
  }
  // Whoever fetches one holds its lock.
  for (const std::string& path : abandoned)
    if (auto draft = DraftFile::try_open(path); draft && *draft) (*draft)->discard();
  if (unused.empty()) return;
  if (const auto theirs = uses_where_we_borrow()) remove_blobs(unused_of(*theirs, unused));
}

// As if their manifests were among ours. Of stores that are not ours to see, none.
Result<BlobUses> ModelStore::uses_where_we_borrow() const {
  BlobUses all;
  for (const std::string& folder : borrowed_) {
    const std::string manifests = folder + "/manifests";
    if (!names_in(manifests)) continue;
    ASSIGN_OR_RETURN(BlobUses theirs, uses_below(manifests));
    all.merge(theirs);
  }
  return all;
}

void ModelStore::remove_left_behind() const {
  std::error_code ec;
  if (folder_.empty() || !fs::exists(folder_ + "/blobs", ec)) return;
  const auto lock = FolderLock::acquire(folder_, 0);
  if (!lock) return;  // whoever has it, or the next one, does it
  // Manifests of which there is none at all are more likely on a disk that is not mounted.
  if (const auto uses = uses_below(folder_ + "/manifests"); uses && !uses->empty()) remove_orphans_locked(*uses);
  remove_dangling_links(views_folder(), keep_.unused_s);
}

// Of split models whose blobs are gone. Also drafts of links, which live for a moment.
void remove_dangling_links(const std::string& views_folder, double drafts_s) {
  std::error_code ec;
  for (const auto& view : folder_entries(views_folder)) {
    bool any = false;
    for (const auto& link : folder_entries(view.path())) {
      const std::string path = link.path().string();
      if (!link.is_symlink(ec) || !link.path().filename().string().starts_with("model-")) continue;
      const bool is_draft = !path.ends_with(".gguf") && age_s(path).value_or(0) >= drafts_s;
      const bool dangles = fs::status(path, ec).type() == fs::file_type::not_found;
      if (is_draft || dangles) any = fs::remove(path, ec) || any;
    }
    if (any) fs::remove(view.path(), ec);  // unless it holds more
  }
}

void ModelStore::remove_unused(const std::vector<std::string>& digests) const {
  if (digests.empty()) return;
  const auto lock = FolderLock::acquire(folder_);
  if (lock) remove_unused_locked(digests);
}

std::string ModelStore::draft_path() const {
  static std::atomic<unsigned> drafts{0};
  return fmt::format("{}/blobs/{}{}-{}", folder_, kDraft, ::getpid(), drafts++);
}

Result<std::unique_ptr<BlobWriter>> ModelStore::write_blob(std::string_view digest) {
  std::optional<DraftFile> draft;
  // Somebody who removes dead drafts may take one in the moment in which it is made.
  for (int attempt = 0; attempt < 3 && !draft; ++attempt) {
    ASSIGN_OR_RETURN(draft, DraftFile::try_open(draft_path()));
  }
  if (!draft) return error(Code::kIo, fmt::format("{}/blobs: drafts are in use", folder_));
  RETURN_IF_ERROR(draft->truncate(0));  // of a process that had our number and crashed
  return std::make_unique<StoreBlobWriter>(*this, std::move(*draft), digest);
}

// A draft by another name than those that are written: this one may be the file itself. It lives while its maker has
// the folder's lock.
std::optional<ModelStore::AdoptedDraft> ModelStore::adopt_draft(const std::string& path) {
  std::error_code ec;
  fs::create_directories(folder_ + "/blobs", ec);
  const std::string source = fs::canonical(path, ec).string();
  std::string draft = draft_path() + kAdopted;
  if (ec) return std::nullopt;
  if (try_share_content(source, draft)) return AdoptedDraft{std::move(draft)};
  if (try_hard_link(source, draft)) return AdoptedDraft{std::move(draft), true};
  return std::nullopt;
}

Result<bool> ModelStore::adopt_blob(const File& file, std::string_view digest) {
  const auto lock = FolderLock::acquire(folder_);
  if (!lock) return false;
  const auto draft = adopt_draft(file.path());
  if (!draft) return false;
  std::error_code ec, ignored;
  // Before it has the name of a blob: a model may use the one that is there.
  const auto is_it = check_is_of_file(draft->path, draft->is_link, file);
  if (is_it) fs::rename(draft->path, own_blob_path(digest), ec);
  fs::remove(draft->path, ignored);  // it stays also where both are names of one file
  RETURN_IF_ERROR(is_it);
  return !ec;
}

bool ModelStore::can_adopt(const std::string& path) {
  const auto lock = FolderLock::acquire(folder_);
  if (!lock) return false;
  const auto draft = adopt_draft(path);
  std::error_code ec;
  return draft && fs::remove(draft->path, ec);
}

void ModelStore::remove_dead_drafts() const {
  std::vector<std::string> adopted;
  for (const auto& entry : folder_entries(folder_ + "/blobs")) {
    const std::string path = entry.path().string();
    if (!entry.path().filename().string().starts_with(kDraft)) continue;
    if (path.ends_with(kAdopted)) {
      adopted.push_back(path);
      continue;
    }
    // The process that writes it holds its lock.
    if (auto draft = DraftFile::try_open(path); draft && *draft) (*draft)->discard();
  }
  if (adopted.empty()) return;
  const auto lock = FolderLock::acquire(folder_, 0);
  std::error_code ec;
  for (const std::string& path : adopted)
    if (lock) fs::remove(path, ec);
}

Result<std::string> ModelStore::add_blob(std::string_view content) {
  std::string digest = "sha256:" + sha256_hex(content);
  if (const auto there = read_blob(digest); there && *there == content) return digest;
  ASSIGN_OR_RETURN(const std::unique_ptr<BlobWriter> writer, write_blob(digest));
  RETURN_IF_ERROR(writer->write(content));
  return writer->finish();
}

}  // namespace spillway
