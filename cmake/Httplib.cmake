# Finds cpp-httplib and defines spillway::httplib: an installed one (cmake package or header), else the one in .deps/. The
# library there was built with these four options, and the layout of its classes follows them.
add_library(spillway_httplib INTERFACE)
add_library(spillway::httplib ALIAS spillway_httplib)
find_package(httplib QUIET CONFIG)
if(httplib_FOUND)
  target_link_libraries(spillway_httplib INTERFACE httplib::httplib)
elseif(EXISTS "${spillway_deps}/include/httplib.h")
  find_library(SPILLWAY_HTTPLIB_LIBRARY cpp-httplib PATHS ${spillway_libdir} NO_DEFAULT_PATH)
  target_include_directories(spillway_httplib SYSTEM INTERFACE ${spillway_deps}/include ${OPENSSL_INCLUDE_DIR})
  target_compile_definitions(spillway_httplib INTERFACE CPPHTTPLIB_OPENSSL_SUPPORT CPPHTTPLIB_ZLIB_SUPPORT
                             CPPHTTPLIB_BROTLI_SUPPORT CPPHTTPLIB_ZSTD_SUPPORT CPPHTTPLIB_USE_NON_BLOCKING_GETADDRINFO)
  target_link_libraries(spillway_httplib INTERFACE ${SPILLWAY_HTTPLIB_LIBRARY})
else()
  message(FATAL_ERROR "No cpp-httplib found. Run scripts/setup (Debian), or install cpp-httplib 0.30 or newer.")
endif()
