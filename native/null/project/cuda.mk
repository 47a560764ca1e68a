
# device.cu needs nvcc. The runtime is linked statically: a library that is missing at run
# time must not keep the file from loading.
NVCC    ?= nvcc
override CFLAGS += -DWITH_DEVICE
OBJECTS += build/device.o
TOOLKIT := $(dir $(realpath $(shell command -v $(NVCC))))..
LDLIBS  += -L$(TOOLKIT)/lib64 -L$(TOOLKIT)/lib -lcudart_static -ldl -lrt

build/device.o: device.cu device.h
	@command -v $(NVCC) >/dev/null || { echo "make: nvcc is not installed; put it on PATH or set NVCC" >&2; exit 1; }
	@mkdir -p $(@D)
	$(NVCC) -O2 -std=c++17 -Xcompiler -fPIC,-fvisibility=hidden,-fno-exceptions,-fno-threadsafe-statics -I. -c -o $@ $<
