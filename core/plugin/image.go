package plugin

import (
	"bytes"
	"encoding/binary"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"unicode/utf8"
)

const (
	entrySymbol    = "trainer_backend_query_v1"
	manifestSymbol = "trainer_backend_manifest"
)

// image is what a library file says before it is loaded.
type image struct {
	entry       bool   // exports the entry symbol
	hasManifest bool   // exports the manifest symbol
	manifest    []byte // what stands there, at most maxManifest + 1 bytes
	needed      []string
	runpath     []string // where the library looks for what it needs
	exports     []string // every symbol it defines for others
	calls       []string // of processCalls, those it imports
	hardening   []Trait  // of how it was linked
}

// inspect takes a candidate through every stage that needs no code of it. It returns the
// file to load.
func (c *Candidate) inspect() (real string, img image, err error) {
	real, err = filepath.EvalSymlinks(c.Path)
	if err != nil {
		return "", img, refuse(ReasonNotFound, "the link leads nowhere: %v", err)
	}
	if err := checkPermissions(c.Path, real); err != nil {
		return "", img, err
	}
	f, info, err := openFile(real)
	if err != nil {
		return "", img, err
	}
	defer f.Close()
	c.Identity = identityOf(info)
	if img, err = readImage(f, info.Size()); err != nil {
		return "", img, err
	}
	return real, img, c.checkImage(img)
}

// checkImage judges symbols, manifest and what it asks for.
func (c *Candidate) checkImage(img image) (err error) {
	if !img.hasManifest {
		if !img.entry {
			return refuse(ReasonEntrySymbol, "is a library but no backend of trainer: it exports neither %s nor %s", entrySymbol, manifestSymbol)
		}
		return refuse(ReasonManifest, "exports no symbol %s", manifestSymbol)
	}
	if c.Manifest, err = parseManifest(img.manifest); err != nil {
		return err
	}
	if err := c.Manifest.checkABI(); err != nil {
		return err
	}
	if !img.entry {
		return refuse(ReasonEntrySymbol, "exports no function %s", entrySymbol)
	}
	if err := c.Manifest.checkCPU(); err != nil {
		return err
	}
	return img.checkRunpath()
}

// readImage reads an ELF or Mach-O library for this machine; anything else is refused. A
// file that was cut is refused here, because the loader would die of it.
func readImage(r io.ReaderAt, size int64) (image, error) {
	if size == 0 {
		return image{}, refuse(ReasonNotLibrary, "is empty")
	}
	head := make([]byte, min(size, 512))
	if _, err := r.ReadAt(head, 0); err != nil {
		return image{}, refuse(ReasonPermission, "cannot be read: %v", err)
	}
	kind := formatOf(head)
	want := formatELF
	if runtime.GOOS == "darwin" {
		want = formatMachO
	}
	switch {
	case kind == formatText:
		return image{}, refuse(ReasonNotLibrary, "is a text file, expected %s", want)
	case kind == formatUnknown:
		return image{}, refuse(ReasonNotLibrary, "begins with bytes %x, expected %s", head[:min(4, len(head))], want)
	case kind != want:
		return image{}, refuse(ReasonArch, "is %s, expected %s", kind, want)
	case kind == formatELF:
		return readELF(r, size)
	}
	return readMachO(r, size)
}

const (
	formatELF     = "an ELF library (Linux)"
	formatMachO   = "a Mach-O library (macOS)"
	formatPE      = "a PE library (Windows)"
	formatText    = "text"
	formatUnknown = "unknown"
)

func formatOf(head []byte) string {
	if bytes.HasPrefix([]byte("\x7fELF"), head[:min(4, len(head))]) {
		return formatELF // or the beginning of one
	}
	if bytes.HasPrefix(head, []byte("MZ")) && bytes.IndexByte(head, 0) >= 0 {
		return formatPE
	}
	if len(head) >= 4 {
		switch binary.BigEndian.Uint32(head) {
		case 0xfeedface, 0xfeedfacf, 0xcefaedfe, 0xcffaedfe, 0xcafebabe, 0xcafebabf:
			return formatMachO
		}
	}
	// A character may be cut at the end of head.
	if bytes.IndexByte(head, 0) < 0 && utf8.Valid(head[:max(0, len(head)-utf8.UTFMax)]) {
		return formatText
	}
	return formatUnknown
}

// inside reports whether n bytes at off lie in a file of that size.
func inside(off, n uint64, size int64) bool {
	return off <= uint64(size) && n <= uint64(size)-off
}

// readManifest reads the text at off, of which limit bytes exist.
func readManifest(r io.ReaderAt, off, limit uint64) []byte {
	raw := make([]byte, min(limit, maxManifest+1))
	n, _ := r.ReadAt(raw, int64(off))
	return raw[:n]
}

// checkRunpath refuses search paths that depend on the working directory.
func (img image) checkRunpath() error {
	for _, p := range img.runpath {
		if !filepath.IsAbs(p) && !strings.HasPrefix(p, "$ORIGIN") && !strings.HasPrefix(p, "${ORIGIN}") && !strings.HasPrefix(p, "@loader_path") &&
			!strings.HasPrefix(p, "@executable_path") && !strings.HasPrefix(p, "@rpath") {
			return refuse(ReasonDependency, "looks for libraries in %q, which depends on the working directory; link it with -Wl,-rpath,'$ORIGIN'", p)
		}
	}
	return nil
}
