package plugin

import (
	"debug/elf"
	"debug/macho"
	"fmt"
	"strings"
)

// Exports lists the symbols that a library file offers to others, without loading it.
func Exports(path string) (names []string, err error) {
	if file, err := elf.Open(path); err == nil {
		defer file.Close()
		symbols, err := file.DynamicSymbols()
		if err != nil {
			return nil, fmt.Errorf("read the symbols of %s: %w", path, err)
		}
		for _, s := range symbols {
			if s.Section != elf.SHN_UNDEF && s.Section != elf.SHN_ABS {
				names = append(names, s.Name)
			}
		}
		return names, nil
	}
	file, err := macho.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s is neither an ELF nor a Mach-O library: %w", path, err)
	}
	defer file.Close()
	const external, undefined = 0x01, 0x0e
	for _, s := range file.Symtab.Syms {
		if s.Type&external != 0 && s.Type&undefined != 0 {
			names = append(names, strings.TrimPrefix(s.Name, "_"))
		}
	}
	return names, nil
}
