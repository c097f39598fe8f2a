# Defines spillway::crypto, OpenSSL's hashing. Beside a libllama in .deps/, which brings a libcrypto of its own, it is linked
# by name alone: two folders that hold one library make CMake doubt the search path. At run time the newer one is found.
add_library(spillway_crypto INTERFACE)
add_library(spillway::crypto ALIAS spillway_crypto)
if(llama_FOUND)
  target_link_libraries(spillway_crypto INTERFACE OpenSSL::Crypto)
else()
  target_include_directories(spillway_crypto SYSTEM INTERFACE ${OPENSSL_INCLUDE_DIR})
  target_link_libraries(spillway_crypto INTERFACE -lcrypto)
endif()
