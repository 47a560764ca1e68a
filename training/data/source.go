package data

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"trainer/fault"
	"trainer/files/modeldir"
	"trainer/files/parquet"
)

// The file types. A .json file holds one array of objects, a .jsonl file one object a
// line; neither is ever taken for the other. A .csv file begins with the names of its
// columns, a .txt file holds a text a line.
const (
	JSON    = "json"
	JSONL   = "jsonl"
	CSV     = "csv"
	Parquet = "parquet"
	Txt     = "txt"
)

// FileTypes lists the file types.
func FileTypes() []string { return []string{JSON, JSONL, CSV, Parquet, Txt} }

// textReaders read the file types that are streams.
var textReaders = map[string]func(in io.Reader, file string, yield func(Record) error) error{
	JSON: readJSON, JSONL: readJSONL, CSV: readCSV, Txt: readText,
}

// source is where records come from: files read one after the other.
type source struct {
	name  string // for sentences
	files []dataFile
	made  func(yield func(Record) error) error // instead of files: generated records
	limit int                                  // most records; 0 = all
	pick  func(total int) []bool               // which records count, of so many; nil = all
}

// dataFile is one file of a source.
type dataFile struct {
	path string
	kind string // a file type
	open func() (*os.File, int64, error)
}

// errEnough ends reading before the end of the files.
var errEnough = errors.New("enough")

// read yields the records in order and reads no further than it must. An error of yield
// ends it; every other error is a *fault.Error with the file and the place inside it.
func (s *source) read(yield func(Record) error) error {
	picked, err := s.picked()
	if err != nil {
		return err
	}
	row, given := 0, 0
	err = s.all(func(r Record) error {
		r.Row = row
		row++
		if picked != nil && (r.Row >= len(picked) || !picked[r.Row]) {
			return nil
		}
		if err := yield(r); err != nil {
			return err
		}
		if given++; given == s.limit {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// picked decides which records count, which takes a pass over the files to count them.
func (s *source) picked() ([]bool, error) {
	if s.pick == nil {
		return nil, nil
	}
	total := 0
	if err := s.all(func(Record) error { total++; return nil }); err != nil {
		return nil, err
	}
	return s.pick(total), nil
}

// all yields every record there is.
func (s *source) all(yield func(Record) error) error {
	if s.made != nil {
		return s.made(yield)
	}
	for _, f := range s.files {
		if err := f.read(yield); err != nil {
			return err
		}
	}
	return nil
}

func (f dataFile) read(yield func(Record) error) error {
	in, size, err := f.open()
	if err != nil {
		return err
	}
	defer in.Close()
	if f.kind == Parquet {
		return readParquet(in, size, f.path, yield)
	}
	return textReaders[f.kind](in, f.path, yield)
}

// readParquet yields the rows of a Parquet file.
func readParquet(in io.ReaderAt, size int64, file string, yield func(Record) error) error {
	row := 0
	err := parquet.Read(in, size, func(fields map[string]any) error {
		row++
		return yield(Record{File: file, At: Position{Line: row}, Fields: fields})
	})
	var broken *parquet.Error
	if !errors.As(err, &broken) {
		return err
	}
	e := &fault.Error{Kind: fault.Files, Where: file, Err: broken.Err, Remedy: "fetch or write the file again"}
	if broken.Row > 0 {
		e.Field = Position{Line: broken.Row}.String()
	}
	return e
}

// openSource finds what a dataset setting names: one of the six data sets, a file, a
// folder of files, or a data set in the Hub cache. kind forces the file type, "" takes
// what the file name says.
func openSource(name, kind string, opts Options) (*source, error) {
	if n, ok := named[name]; ok {
		return n.open(name, opts)
	}
	s := &source{name: name, limit: max(0, opts.Samples)}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		if dir, ok := modeldir.Snapshot("datasets", name); ok && strings.Contains(name, "/") {
			s.files, err = hubFiles(dir, trainSplit)
			return s, err
		}
		return nil, missing(name, err)
	case info.IsDir():
		s.files, err = folderFiles(name, kind)
		return s, err
	}
	if kind == "" {
		kind = typeOf(name)
	}
	if kind == "" {
		return nil, &fault.Error{Kind: fault.Files, Where: name, Found: fmt.Sprintf("the file type %.20q", filepath.Ext(name)),
			Want: "one of .json, .jsonl, .csv, .parquet, .txt", Remedy: "rename the file, or name its type with --dataset_format"}
	}
	s.files = []dataFile{{name, kind, func() (*os.File, int64, error) { return modeldir.OpenFile(name) }}}
	return s, nil
}

func missing(name string, err error) error {
	e := &fault.Error{Kind: fault.Files, Where: name, Err: err,
		Remedy: "name a data file or folder that can be read, or one of " + strings.Join(Names(), ", ")}
	var inner *os.PathError
	if errors.As(err, &inner) {
		e.Err = inner.Err
	}
	return e
}

// typeOf is the file type a name says, "" if none.
func typeOf(name string) string {
	kind := strings.ToLower(strings.TrimPrefix(filepath.Ext(name), "."))
	if _, ok := textReaders[kind]; ok || kind == Parquet {
		return kind
	}
	return ""
}

// The words by which a file name says its split.
var (
	trainSplit      = regexp.MustCompile(`(?i)(^|[^a-z])train(ing)?([^a-z]|$)`)
	validationSplit = regexp.MustCompile(`(?i)(^|[^a-z])(val|valid|validation|dev)([^a-z]|$)`)
)

// folderFiles are the data files directly in a folder, or in its sub-folder data, in
// order of their names: all of one type, and where names say "train", only those.
func folderFiles(path, kind string) ([]dataFile, error) {
	files, err := listed(path, trainSplit)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, &fault.Error{Kind: fault.Files, Where: path, Found: "a folder without data files",
			Want: "files .json, .jsonl, .csv, .parquet or .txt", Remedy: "name the folder that holds them"}
	}
	for i := range files {
		if files[i].kind != files[0].kind {
			return nil, &fault.Error{Kind: fault.Files, Where: path, Found: fmt.Sprintf("%s and %s", filepath.Base(files[0].path), filepath.Base(files[i].path)),
				Want: "data files of one type", Remedy: "name one file, or move the others away"}
		}
	}
	for i := range files {
		if kind != "" {
			files[i].kind = kind
		}
	}
	return files, nil
}

// hubFiles are the files of a split of a data set in the Hub cache. There a .json file may
// hold an object a line.
func hubFiles(snapshot string, split *regexp.Regexp) ([]dataFile, error) {
	files, err := listed(snapshot, split)
	for i, f := range files {
		if f.kind == JSON && err == nil {
			files[i].kind, err = sniffed(f)
		}
	}
	if err == nil && len(files) == 0 {
		err = &fault.Error{Kind: fault.Files, Where: snapshot, Found: "no data file",
			Want: "files .json, .jsonl, .csv or .parquet", Remedy: "download the data set again"}
	}
	return files, err
}

// sniffed tells an array of objects from an object a line by the first byte.
func sniffed(f dataFile) (string, error) {
	in, _, err := f.open()
	if err != nil {
		return "", err
	}
	defer in.Close()
	r := newReader(bufio.NewReader(in), f.path)
	if err := r.skipMark(); err != nil {
		return "", err
	}
	if c, err := r.skipSpace(); err == nil && c == '{' {
		return JSONL, nil
	}
	return JSON, nil
}

// listed are the data files of a folder in order of their names, or of its sub-folder data
// if it has none itself; where names say the split, only those.
func listed(path string, split *regexp.Regexp) ([]dataFile, error) {
	dir, err := modeldir.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	for _, sub := range []string{"", "data"} {
		names, err := dir.Names(sub)
		if err != nil {
			return nil, err
		}
		var all, ofSplit []dataFile
		for _, name := range names {
			if typeOf(name) == "" {
				continue
			}
			f := dataFile{filepath.Join(path, sub, name), typeOf(name), func() (*os.File, int64, error) { return openListed(path, sub, name) }}
			all = append(all, f)
			if split.MatchString(name) {
				ofSplit = append(ofSplit, f)
			}
		}
		if len(ofSplit) > 0 {
			return ofSplit, nil
		}
		if len(all) > 0 {
			return all, nil
		}
	}
	return nil, nil
}

func openListed(path, sub, name string) (*os.File, int64, error) {
	dir, err := modeldir.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer dir.Close()
	return dir.OpenListed(sub, name)
}
