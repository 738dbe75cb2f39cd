# Everything is a Debian package (scripts/setup.sh installs them); docs/dependencies.md says why each one.
find_package(OpenMP REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(PNG REQUIRED)
find_package(JPEG REQUIRED)
find_package(ZLIB REQUIRED)
find_package(CURL REQUIRED)
pkg_check_modules(WEBP REQUIRED IMPORTED_TARGET libwebp)
pkg_check_modules(HWY REQUIRED IMPORTED_TARGET libhwy)
pkg_check_modules(LIBZIP REQUIRED IMPORTED_TARGET libzip)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(FFMPEG REQUIRED IMPORTED_TARGET libavformat libavcodec libswscale libavutil)
pkg_check_modules(FMT REQUIRED IMPORTED_TARGET fmt)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(TOML REQUIRED IMPORTED_TARGET tomlplusplus)
find_library(DNNL_LIBRARY dnnl REQUIRED)
find_path(DNNL_INCLUDE_DIR dnnl.h REQUIRED)
find_library(MESHOPTIMIZER_LIBRARY meshoptimizer REQUIRED)
find_path(MESHOPTIMIZER_INCLUDE_DIR meshoptimizer.h REQUIRED)

# Header-only, included in few .cpp files: nlohmann-json, CLI11, nanoflann.
find_package(nlohmann_json REQUIRED)

set(EG4D_PUBLIC_LIBRARIES OpenMP::OpenMP_CXX)
set(EG4D_PRIVATE_LIBRARIES PNG::PNG JPEG::JPEG ZLIB::ZLIB CURL::libcurl PkgConfig::WEBP PkgConfig::HWY PkgConfig::LIBZIP PkgConfig::ZSTD
    PkgConfig::FMT PkgConfig::TOML PkgConfig::UTF8PROC ${DNNL_LIBRARY} nlohmann_json::nlohmann_json
    ${MESHOPTIMIZER_LIBRARY} ${CMAKE_DL_LIBS})
