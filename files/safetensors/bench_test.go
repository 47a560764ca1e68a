package safetensors

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkOpen opens a file of 2^20 tensors, the most a file may hold.
func BenchmarkOpen(b *testing.B) {
	var header strings.Builder
	for i := range maxTensors {
		header.WriteByte("{,"[min(i, 1)])
		header.WriteString(entry(fmt.Sprintf("tensor.%d", i), "U8", "[0]", 0, 0))
	}
	path := filepath.Join(b.TempDir(), "some.safetensors")
	if err := os.WriteFile(path, image(header.String()+"}", 0), 0o666); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		f, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		_ = f.Close()
	}
}
