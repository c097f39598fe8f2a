# Finds libllama and ggml and defines the targets spillway::llama and spillway::ggml, and spillway_uses_llama(TARGET) for
# every executable that links them.
#
# Two cases. An installed llama.cpp (Debian testing, Homebrew, CMAKE_PREFIX_PATH) is used as it is. Otherwise .deps/ holds
# one for a newer C library than the host's: an executable then runs under that prefix's own dynamic loader and finds
# everything there first. libllama carries a RUNPATH, so whatever of the prefix is not already loaded by name would come
# from the host and clash: hence the prefix's libraries are linked into the executable by name.
set(spillway_deps "${CMAKE_SOURCE_DIR}/.deps/usr")
find_package(llama QUIET CONFIG)

add_library(spillway_llama INTERFACE)
add_library(spillway::llama ALIAS spillway_llama)
add_library(spillway_ggml INTERFACE)
add_library(spillway::ggml ALIAS spillway_ggml)

if(llama_FOUND)
  message(STATUS "llama.cpp ${LLAMA_VERSION} (installed)")
  target_link_libraries(spillway_ggml INTERFACE ggml::ggml)
  # Images: libmtmd lies beside libllama and has no package of its own.
  find_library(SPILLWAY_MTMD mtmd REQUIRED)
  target_link_libraries(spillway_llama INTERFACE "${SPILLWAY_MTMD}" llama spillway_ggml)
  set(SPILLWAY_BACKENDS_DIR "" CACHE INTERNAL "")
  function(spillway_uses_llama target)
  endfunction()
elseif(EXISTS "${spillway_deps}/include/llama.h")
  file(GLOB spillway_libdirs "${spillway_deps}/lib/*/libllama.so")
  list(GET spillway_libdirs 0 spillway_libllama)
  get_filename_component(spillway_libdir "${spillway_libllama}" DIRECTORY)
  file(GLOB spillway_ld_so "${spillway_libdir}/ld-linux*.so.*")
  file(GLOB spillway_backends "${spillway_libdir}/ggml/backends*")
  list(GET spillway_backends 0 spillway_backends_dir)
  file(READ "${CMAKE_SOURCE_DIR}/.deps/llama-version" spillway_llama_version)
  string(STRIP "${spillway_llama_version}" spillway_llama_version)
  message(STATUS "llama.cpp ${spillway_llama_version} (.deps)")
  set(SPILLWAY_BACKENDS_DIR "${spillway_backends_dir}" CACHE INTERNAL "")
  target_include_directories(spillway_ggml SYSTEM INTERFACE "${spillway_deps}/include")
  target_link_libraries(spillway_ggml INTERFACE "${spillway_libdir}/libggml.so" "${spillway_libdir}/libggml-base.so")
  target_link_libraries(spillway_llama INTERFACE "${spillway_libdir}/libmtmd.so" "${spillway_libdir}/libllama.so" spillway_ggml)
  set(spillway_prefix_libs)
  foreach(name libc.so.6 libm.so.6 libllama.so libggml.so libggml-base.so libstdc++.so.6 libgcc_s.so.1 libgomp.so.1
               libssl.so.3 libcrypto.so.3 libz.so.1 libzstd.so.1)
    list(APPEND spillway_prefix_libs "${spillway_libdir}/${name}")
  endforeach()
  set(SPILLWAY_PREFIX_LINK_OPTIONS
    "-Wl,--dynamic-linker=${spillway_ld_so}" "-Wl,--disable-new-dtags" "-Wl,-rpath,${spillway_libdir}"
    "-Wl,--allow-shlib-undefined" "-Wl,--no-as-needed" ${spillway_prefix_libs} "-Wl,--as-needed" CACHE INTERNAL "")
  function(spillway_uses_llama target)
    target_link_options(${target} PRIVATE ${SPILLWAY_PREFIX_LINK_OPTIONS})
  endfunction()
else()
  message(FATAL_ERROR "No llama.cpp found. Run scripts/setup (Debian), or install llama.cpp and set CMAKE_PREFIX_PATH.")
endif()
