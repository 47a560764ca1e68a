
# device.cu needs nvcc. The runtime is linked statically: a library that is missing at run
# time must not keep the file from loading.
NVCC    ?= nvcc
CFLAGS  += -DWITH_DEVICE
OBJECTS += build/device.o
LDLIBS  += -L$(dir $(shell command -v $(NVCC)))../lib64 -lcudart_static -ldl -lrt

build/device.o: device.cu device.h
	@command -v $(NVCC) >/dev/null || { echo "make: nvcc is not installed; put it on PATH or set NVCC" >&2; exit 1; }
	@mkdir -p $(@D)
	$(NVCC) -O2 -std=c++17 -Xcompiler -fPIC,-fvisibility=hidden -I. -c -o $@ $<
