package plugin

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"runtime"
	"slices"
	"strings"
)

var elfMachines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "riscv64": elf.EM_RISCV,
	"ppc64le": elf.EM_PPC64, "s390x": elf.EM_S390, "loong64": elf.EM_LOONGARCH}

// readELF checks an ELF library and reads what it says.
func readELF(r io.ReaderAt, size int64) (image, error) {
	if err := checkELFHeader(r, size); err != nil {
		return image{}, err
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return image{}, refuse(ReasonNotLibrary, "is a damaged ELF file: %v", err)
	}
	for _, s := range f.Sections {
		if s.Type != elf.SHT_NOBITS && !inside(s.Offset, s.FileSize, size) {
			return image{}, refuse(ReasonTruncated, "is cut off: section %s ends beyond the file's %d bytes", s.Name, size)
		}
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return image{}, refuse(ReasonNotLibrary, "has no readable table of symbols: %v", err)
	}
	img := image{runpath: elfRunpath(f), hardening: elfHardening(f)}
	img.needed, _ = f.ImportedLibraries()
	for _, s := range symbols {
		if elf.ST_BIND(s.Info) == elf.STB_LOCAL { // as sections, which some linkers list here
			continue
		}
		if s.Section == elf.SHN_UNDEF {
			if slices.Contains(processCalls, s.Name) {
				img.calls = append(img.calls, s.Name)
			}
			continue
		}
		if s.Section < elf.SHN_LORESERVE { // else the name of a version
			img.exports = append(img.exports, s.Name)
		}
		switch s.Name {
		case entrySymbol:
			img.entry = true
		case manifestSymbol:
			img.hasManifest, img.manifest = true, elfData(f, s.Value)
		}
	}
	return img, nil
}

// checkELFHeader compares the file with this machine and its tables with the file's size.
func checkELFHeader(r io.ReaderAt, size int64) error {
	var h elf.Header64
	raw := make([]byte, binary.Size(h))
	if size < int64(len(raw)) {
		return refuse(ReasonTruncated, "is cut off: %d bytes do not hold an ELF header", size)
	}
	if _, err := r.ReadAt(raw, 0); err != nil {
		return refuse(ReasonPermission, "cannot be read: %v", err)
	}
	if elf.Class(raw[elf.EI_CLASS]) != elf.ELFCLASS64 {
		return refuse(ReasonArch, "is an ELF file of class %d, expected a 64-bit one", raw[elf.EI_CLASS])
	}
	order := binary.ByteOrder(binary.LittleEndian)
	native := elf.ELFDATA2LSB
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		order, native = binary.BigEndian, elf.ELFDATA2MSB
	}
	if elf.Data(raw[elf.EI_DATA]) != native {
		return refuse(ReasonArch, "has the other byte order (%s)", elf.Data(raw[elf.EI_DATA]))
	}
	if err := binary.Read(bytes.NewReader(raw), order, &h); err != nil {
		return err
	}
	if want, known := elfMachines[runtime.GOARCH]; known && elf.Machine(h.Machine) != want {
		return refuse(ReasonArch, "is for %s, this machine is %s", elf.Machine(h.Machine), want)
	}
	if elf.Type(h.Type) != elf.ET_DYN {
		return refuse(ReasonNotLibrary, "is an ELF file of type %s, expected a shared library", elf.Type(h.Type))
	}
	return checkELFTables(r, size, order, h)
}

func checkELFTables(r io.ReaderAt, size int64, order binary.ByteOrder, h elf.Header64) error {
	if !inside(h.Phoff, uint64(h.Phnum)*uint64(h.Phentsize), size) {
		return refuse(ReasonTruncated, "is cut off: its program headers end beyond the file's %d bytes", size)
	}
	var p elf.Prog64
	for i := range uint64(h.Phnum) {
		raw := io.NewSectionReader(r, int64(h.Phoff+i*uint64(h.Phentsize)), int64(binary.Size(p)))
		if err := binary.Read(raw, order, &p); err != nil {
			return refuse(ReasonTruncated, "is cut off: program header %d: %v", i, err)
		}
		if elf.ProgType(p.Type) == elf.PT_LOAD && !inside(p.Off, p.Filesz, size) {
			return refuse(ReasonTruncated, "is cut off: segment %d ends at byte %d, the file has %d", i, p.Off+p.Filesz, size)
		}
	}
	if h.Shoff != 0 && !inside(h.Shoff, uint64(h.Shnum)*uint64(h.Shentsize), size) {
		return refuse(ReasonTruncated, "is cut off: its section headers end beyond the file's %d bytes", size)
	}
	return nil
}

// elfData reads what is loaded at an address, up to the end of its segment in the file.
func elfData(f *elf.File, address uint64) []byte {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && address >= p.Vaddr && address-p.Vaddr < p.Filesz {
			return readManifest(p, address-p.Vaddr, p.Filesz-(address-p.Vaddr))
		}
	}
	return nil
}

// elfHardening are the traits of how a library was linked.
func elfHardening(f *elf.File) (traits []Trait) {
	for _, p := range f.Progs {
		if p.Type == elf.PT_GNU_STACK && p.Flags&elf.PF_X != 0 {
			traits = append(traits, Trait{true, "asks for an executable stack; link it with -Wl,-z,noexecstack"})
		}
		if p.Type == elf.PT_LOAD && p.Flags&(elf.PF_W|elf.PF_X) == elf.PF_W|elf.PF_X {
			traits = append(traits, Trait{true, "has memory that is writable and executable at once"})
		}
	}
	has := func(tag elf.DynTag, flag uint64) bool {
		values, _ := f.DynValue(tag)
		return slices.ContainsFunc(values, func(v uint64) bool { return v&flag != 0 })
	}
	if text, _ := f.DynValue(elf.DT_TEXTREL); len(text) > 0 || has(elf.DT_FLAGS, uint64(elf.DF_TEXTREL)) {
		traits = append(traits, Trait{true, "changes its code while it is loaded; compile it with -fPIC"})
	}
	if has(elf.DT_FLAGS, uint64(elf.DF_STATIC_TLS)) {
		traits = append(traits, Trait{false, "takes thread-local memory of which a running process has little left; compile it with -ftls-model=global-dynamic"})
	}
	if now, _ := f.DynValue(elf.DT_BIND_NOW); len(now) == 0 && !has(elf.DT_FLAGS, uint64(elf.DF_BIND_NOW)) {
		traits = append(traits, Trait{false, "finds functions only when they are first called; link it with -Wl,-z,now"})
	}
	symbols, _ := f.Symbols() // none in a stripped file
	if slices.ContainsFunc(symbols, func(s elf.Symbol) bool { return s.Name == "set_fast_math" }) {
		traits = append(traits, Trait{true, "changes floating-point arithmetic when it is loaded; link it without -ffast-math"})
	}
	return traits
}

// elfRunpath are the entries of RUNPATH, or of RPATH where there is none; an empty entry
// means the working directory.
func elfRunpath(f *elf.File) []string {
	for _, tag := range []elf.DynTag{elf.DT_RUNPATH, elf.DT_RPATH} {
		var out []string
		values, _ := f.DynString(tag)
		for _, v := range values {
			out = append(out, strings.Split(v, ":")...)
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}
