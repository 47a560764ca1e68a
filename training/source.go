package training

import (
	"fmt"

	"trainer/core/abi"
	"trainer/files/safetensors"
)

// folderSource reads base weights from a model folder.
type folderSource struct{ folder *safetensors.Folder }

// NewSource reads weights from a model folder whose tensors were checked against the
// model. It is safe for one goroutine.
func NewSource(folder *safetensors.Folder) Source { return folderSource{folder} }

// DType implements Source.
func (s folderSource) DType(name string) abi.DType {
	info, _ := s.folder.Tensor(name)
	return storedTypes[info.DType]
}

// Path implements Source.
func (s folderSource) Path(name string) string { return s.folder.Path(name) }

// ReadAt implements Source.
func (s folderSource) ReadAt(name string, dst []byte, offset int64) error {
	info, ok := s.folder.Tensor(name)
	if !ok {
		return fmt.Errorf("tensor %s is missing", name)
	}
	return s.folder.Read(info, dst, offset)
}
