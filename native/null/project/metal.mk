
# device.m and its kernels, which are compiled at run time from their source.
CFLAGS  += -DWITH_DEVICE
OBJECTS += build/device.o
LDLIBS  += -framework Foundation -framework Metal

build/device.o: device.m device.h
	@mkdir -p $(@D)
	$(CC) -O2 -fobjc-arc -Wall -Wextra -Werror -fPIC -fvisibility=hidden -I. -c -o $@ $<
