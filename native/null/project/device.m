/* device.m - memory and a first kernel in Metal. Shared memory is seen by host and device.
 * Every entry of the backend that uses Metal needs an autorelease pool of its own. */
#include "device.h"

#import <Foundation/Foundation.h>
#import <Metal/Metal.h>

static NSString *const source = @"#include <metal_stdlib>\n"
                                 "using namespace metal;\n"
                                 "kernel void fill(device float *dst [[buffer(0)]], constant float &value [[buffer(1)]],\n"
                                 "                 uint i [[thread_position_in_grid]]) { dst[i] = value; }\n";

static id<MTLDevice> gpu;
static id<MTLCommandQueue> commands;
static id<MTLComputePipelineState> fill;
static NSMutableDictionary<NSNumber *, id<MTLBuffer>> *buffers; /* by address */

static void open_once(void) {
  static dispatch_once_t once;
  dispatch_once(&once, ^{
    gpu = MTLCreateSystemDefaultDevice();
    commands = [gpu newCommandQueue];
    id<MTLLibrary> library = [gpu newLibraryWithSource:source options:nil error:nil];
    id<MTLFunction> function = [library newFunctionWithName:@"fill"];
    fill = function ? [gpu newComputePipelineStateWithFunction:function error:nil] : nil;
    buffers = [NSMutableDictionary new];
  });
}

int device_present(char *text, uint64_t text_bytes) {
  @autoreleasepool {
    open_once();
    if (fill) return 1;
    snprintf(text, text_bytes, "no Metal device, or it cannot compile a kernel");
    return 0;
  }
}

void *memory_new(uint64_t bytes) {
  @autoreleasepool {
    open_once();
    id<MTLBuffer> buffer = [gpu newBufferWithLength:bytes options:MTLResourceStorageModeShared];
    if (!buffer) return NULL;
    memset(buffer.contents, 0, bytes);
    @synchronized(buffers) {
      buffers[@((uintptr_t)buffer.contents)] = buffer;
    }
    return buffer.contents;
  }
}

void memory_end(void *base) {
  @autoreleasepool {
    @synchronized(buffers) {
      [buffers removeObjectForKey:@((uintptr_t)base)];
    }
  }
}

/* The buffer an address lies in, and where. */
static id<MTLBuffer> buffer_of(const void *address, NSUInteger *offset) {
  @synchronized(buffers) {
    for (id<MTLBuffer> buffer in buffers.objectEnumerator) {
      uintptr_t begin = (uintptr_t)buffer.contents, at = (uintptr_t)address;
      if (at < begin || at >= begin + buffer.length) continue;
      *offset = at - begin;
      return buffer;
    }
  }
  return nil;
}

int device_fill(float *dst, int64_t n, float value) {
  @autoreleasepool {
    NSUInteger offset = 0;
    id<MTLBuffer> buffer = buffer_of(dst, &offset);
    if (n == 0 || !buffer) return n == 0;
    id<MTLCommandBuffer> work = [commands commandBuffer];
    id<MTLComputeCommandEncoder> encoder = [work computeCommandEncoder];
    [encoder setComputePipelineState:fill];
    [encoder setBuffer:buffer offset:offset atIndex:0];
    [encoder setBytes:&value length:sizeof value atIndex:1];
    [encoder dispatchThreads:MTLSizeMake((NSUInteger)n, 1, 1) threadsPerThreadgroup:MTLSizeMake(256, 1, 1)];
    [encoder endEncoding];
    [work commit];
    [work waitUntilCompleted];
    return work.status == MTLCommandBufferStatusCompleted;
  }
}
