// SPDX-License-Identifier: MIT
// spillway-make-projector SHAPE WIDTH PROJECTOR PICTURE...: a projector of random numbers for a model of that width,
// and pictures. SHAPE: llava, gemma3, qwen2vl.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "engine/projector_writer.h"

int main(int argc, char** argv) {
  using spillway::ProjectorShape;
  if (argc < 4) {
    std::fputs("usage: spillway-make-projector SHAPE WIDTH PROJECTOR PICTURE...\n", stderr);
    return 2;
  }
  const std::string shape = argv[1];
  const auto kind = shape == "gemma3"    ? ProjectorShape::kGemma3
                    : shape == "qwen2vl" ? ProjectorShape::kQwen2Vl
                                         : ProjectorShape::kLlava;
  const auto width = static_cast<uint32_t>(std::strtoul(argv[2], nullptr, 10));
  if (!spillway::write_projector(argv[3], {.shape = kind, .n_embd_text = width})) return 1;
  for (int i = 4; i < argc; ++i) {
    std::ofstream picture(argv[i], std::ios::binary);
    if (!(picture << spillway::bmp_picture(200, 120, static_cast<uint64_t>(i)))) return 1;
  }
  return 0;
}
