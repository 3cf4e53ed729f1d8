# SPDX-License-Identifier: MIT
# What every target of the project is compiled with; generated code gets less (blkd_generated_code).
add_compile_options(
    -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
    -Wold-style-definition -Wpointer-arith -Wwrite-strings -Wundef -Wvla -Wformat=2
    -Wnull-dereference -Wimplicit-fallthrough -fno-strict-aliasing -fno-common
    $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2> -fstack-protector-strong)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    # clang would warn in protobuf-c's initialisers too, which cast const away.
    add_compile_options(-Wcast-qual -Wlogical-op -Wduplicated-cond -Wduplicated-branches)
endif()
# uthash's default hash falls through the cases of a switch, which clang warns about wherever it is used.
add_compile_definitions(HASH_FUNCTION=HASH_FNV)
if(BLKD_WERROR)
    add_compile_options(-Werror)
endif()
add_link_options(-Wl,-z,relro -Wl,-z,now -Wl,--as-needed)

if(BLKD_SANITIZE)
    add_compile_options(-fsanitize=${BLKD_SANITIZE} -fno-omit-frame-pointer
                        -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${BLKD_SANITIZE})
endif()

function(blkd_generated_code target)
    target_compile_options(${target} PRIVATE -w)
endfunction()
