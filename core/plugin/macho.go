package plugin

import (
	"debug/macho"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
)

var machoCPUs = map[string]macho.Cpu{"amd64": macho.CpuAmd64, "arm64": macho.CpuArm64}

// readMachO checks a Mach-O library, or the part of a universal one that is for this
// machine, and reads what it says.
func readMachO(r io.ReaderAt, size int64) (image, error) {
	fat, err := macho.NewFatFile(r)
	if err == nil {
		for _, a := range fat.Arches {
			if a.Cpu != machoCPUs[runtime.GOARCH] {
				continue
			}
			if !inside(uint64(a.Offset), uint64(a.Size), size) {
				return image{}, refuse(ReasonTruncated, "is cut off: its part for %s ends at byte %d, the file has %d", a.Cpu, uint64(a.Offset)+uint64(a.Size), size)
			}
			return readThinMachO(io.NewSectionReader(r, int64(a.Offset), int64(a.Size)), int64(a.Size))
		}
		return image{}, refuse(ReasonArch, "is a universal library without a part for %s", runtime.GOARCH)
	}
	if !errors.Is(err, macho.ErrNotFat) {
		return image{}, refuse(ReasonTruncated, "is a damaged universal library: %v", err)
	}
	return readThinMachO(r, size)
}

func readThinMachO(r io.ReaderAt, size int64) (image, error) {
	f, err := macho.NewFile(r)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return image{}, refuse(ReasonTruncated, "is cut off at %d bytes", size)
	}
	if err != nil {
		return image{}, refuse(ReasonNotLibrary, "is a damaged Mach-O file: %v", err)
	}
	if f.Cpu != machoCPUs[runtime.GOARCH] {
		return image{}, refuse(ReasonArch, "is for %s, this machine is %s", f.Cpu, machoCPUs[runtime.GOARCH])
	}
	if f.Type != macho.TypeDylib && f.Type != macho.TypeBundle {
		return image{}, refuse(ReasonNotLibrary, "is a Mach-O file of type %s, expected a library", f.Type)
	}
	var img image
	for _, l := range f.Loads {
		switch l := l.(type) {
		case *macho.Segment:
			if !inside(l.Offset, l.Filesz, size) {
				return image{}, refuse(ReasonTruncated, "is cut off: segment %s ends at byte %d, the file has %d", l.Name, l.Offset+l.Filesz, size)
			}
		case *macho.Rpath:
			img.runpath = append(img.runpath, l.Path)
		}
	}
	img.needed, _ = f.ImportedLibraries()
	img.readMachOSymbols(f)
	return img, nil
}

// Bits of a symbol's type: seen by other files, and only by those linked with it.
const (
	machoExternal = 0x01
	machoPrivate  = 0x10
)

// readMachOSymbols finds the two exported symbols; C names begin with an underscore.
func (img *image) readMachOSymbols(f *macho.File) {
	if f.Symtab == nil {
		return
	}
	for _, s := range f.Symtab.Syms {
		name := strings.TrimPrefix(s.Name, "_")
		if s.Sect == 0 { // imported
			if slices.Contains(processCalls, name) {
				img.calls = append(img.calls, name)
			}
			continue
		}
		if s.Type&machoExternal != 0 && s.Type&machoPrivate == 0 {
			img.exports = append(img.exports, name)
		}
		switch s.Name {
		case "_" + entrySymbol:
			img.entry = true
		case "_" + manifestSymbol:
			img.hasManifest, img.manifest = true, machoData(f, s.Value)
		}
	}
}

func machoData(f *macho.File, address uint64) []byte {
	for _, l := range f.Loads {
		if s, ok := l.(*macho.Segment); ok && address >= s.Addr && address-s.Addr < s.Filesz {
			return readManifest(s, address-s.Addr, s.Filesz-(address-s.Addr))
		}
	}
	return nil
}
