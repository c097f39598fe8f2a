# Finds QuickJS-ng, which runs chat templates, and defines spillway::quickjs: an installed one (libqjs-dev, Homebrew's
# quickjs-ng), else the one in .deps/, which goes with that prefix's C library (spillway_uses_llama).
find_path(SPILLWAY_QUICKJS_INCLUDE quickjs.h PATHS ${spillway_deps}/include PATH_SUFFIXES qjs quickjs-ng)
find_library(SPILLWAY_QUICKJS_LIBRARY qjs PATHS ${spillway_libdir})
if(NOT SPILLWAY_QUICKJS_INCLUDE OR NOT SPILLWAY_QUICKJS_LIBRARY)
  message(FATAL_ERROR "No QuickJS-ng found. Run scripts/setup (Debian), or install quickjs-ng.")
endif()
add_library(spillway_quickjs INTERFACE)
add_library(spillway::quickjs ALIAS spillway_quickjs)
target_include_directories(spillway_quickjs SYSTEM INTERFACE ${SPILLWAY_QUICKJS_INCLUDE})
target_link_libraries(spillway_quickjs INTERFACE ${SPILLWAY_QUICKJS_LIBRARY})
