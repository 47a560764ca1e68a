# find_package(trainer) for people who write backends. The version is that of the border.
#
#   trainer::backend                 the header, and how a backend is compiled and linked
#   trainer_add_backend(NAME files)  makes trainer-backend-NAME of it
#   TRAINER_BACKEND_DIR              where this installation looks for backends
get_filename_component(_trainer_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
set(TRAINER_BACKEND_DIR "${_trainer_prefix}/lib/trainer/backends")
set(TRAINER_EXPORT_MAP "${CMAKE_CURRENT_LIST_DIR}/export.map")

if(NOT TARGET trainer::backend)
  add_library(trainer::backend INTERFACE IMPORTED)
  target_include_directories(trainer::backend INTERFACE "${_trainer_prefix}/include")
  if(APPLE)
    target_link_options(trainer::backend INTERFACE
      -Wl,-exported_symbol,_trainer_backend_query_v1 -Wl,-exported_symbol,_trainer_backend_manifest)
  else()
    target_link_options(trainer::backend INTERFACE
      "-Wl,--version-script=${TRAINER_EXPORT_MAP}" -Wl,-z,defs,-z,relro,-z,now)
  endif()
endif()

function(trainer_add_backend name)
  add_library(trainer-backend-${name} MODULE ${ARGN})
  set_target_properties(trainer-backend-${name} PROPERTIES
    PREFIX "" SUFFIX "${CMAKE_SHARED_LIBRARY_SUFFIX}" POSITION_INDEPENDENT_CODE ON
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden)
  target_link_libraries(trainer-backend-${name} PRIVATE trainer::backend)
endfunction()
