package parquet

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
)

// Bounds of what a Parquet file may claim. The library allocates what headers claim, so
// they are checked before it sees them.
const (
	maxFooter      = 8 << 20   // bytes
	maxPageHeader  = 1 << 20   // bytes
	maxPage        = 256 << 20 // bytes of a page, uncompressed
	maxPageValues  = 1 << 23
	minStructBytes = 8        // of an element that is a struct, on average over a footer
	freeRatio      = 16 << 20 // pages up to here may have any ratio
	maxRatio       = 1000     // of uncompressed to compressed bytes, for the others
)

// tooLarge refuses what a file claims beyond a bound.
func tooLarge(claim string, found, limit int64) error {
	return fmt.Errorf(claim+", more than %d", found, limit)
}

// checkFooter walks through the footer's Thrift without allocating what it claims.
func checkFooter(in io.ReaderAt, size int64) error {
	if size < 12 {
		return fmt.Errorf("the file has %d bytes and is no Parquet file", size)
	}
	var tail [8]byte
	if _, err := in.ReadAt(tail[:], size-8); err != nil {
		return err
	}
	if string(tail[4:]) != "PAR1" {
		return errors.New("the file does not end as a Parquet file does")
	}
	length := int64(binary.LittleEndian.Uint32(tail[:]))
	if length > maxFooter {
		return tooLarge("the footer has %d bytes", length, maxFooter)
	}
	if length > size-12 {
		return errors.New("the footer is longer than the file")
	}
	w := &thriftWalker{in: bufio.NewReader(io.NewSectionReader(in, size-8-length, length)), left: length}
	if err := w.structure(nil, 0); err != nil {
		return fmt.Errorf("the footer is damaged: %w", err)
	}
	if int64(w.structs)*minStructBytes > length+4096 {
		return errors.New("the footer is damaged: it claims more columns than it describes")
	}
	return nil
}

// checkPages looks at the header of every page.
func checkPages(in io.ReaderAt, size int64, meta *format.FileMetaData) error {
	for _, group := range meta.RowGroups {
		if group.NumRows <= 0 {
			continue // nobody reads it
		}
		for _, column := range group.Columns {
			c := column.MetaData
			from := c.DataPageOffset
			if c.DictionaryPageOffset != 0 {
				from = c.DictionaryPageOffset
			}
			if from > c.DataPageOffset || from < 4 || c.TotalCompressedSize < 0 || from > size || c.TotalCompressedSize > size-from {
				return errors.New("the file is damaged: a column lies outside of it")
			}
			pages := io.NewSectionReader(in, from, c.TotalCompressedSize)
			if err := checkColumn(pages, c.DataPageOffset-from, c.Codec); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkColumn looks at the pages of a column; one of them must begin at `data`.
func checkColumn(in *io.SectionReader, data int64, codec format.CompressionCodec) error {
	found := false
	for at := int64(0); at < in.Size(); {
		found = found || at == data
		limit := min(maxPageHeader, in.Size()-at)
		w := &thriftWalker{in: bufio.NewReader(io.NewSectionReader(in, at, limit)), left: limit}
		p := page{}
		if err := w.structure(p.field, 0); err != nil {
			return fmt.Errorf("a page header is damaged: %w", err)
		}
		at += limit - w.left
		if err := p.check(in.Size() - at); err != nil {
			return err
		}
		if err := p.checkCodec(io.NewSectionReader(in, at, p.compressed), codec); err != nil {
			return err
		}
		at += p.compressed
	}
	if !found {
		return errors.New("the file is damaged: no page begins where a column's data should")
	}
	return nil
}

// page is what a page header claims.
type page struct {
	uncompressed, compressed int64
	values                   int64
	levels                   int64 // bytes in front that are never compressed
	stored                   bool  // not compressed though the column is
}

// field takes a number of the header; the path are the ids of the fields around it.
func (p *page) field(path []int16, value int64) {
	switch fmt.Sprint(path) {
	case "[2]":
		p.uncompressed = value
	case "[3]":
		p.compressed = value
	case "[5 1]", "[7 1]", "[8 1]":
		p.values = value
	case "[8 5]", "[8 6]":
		p.levels += value
	case "[8 7]":
		p.stored = value == 0
	}
}

// check holds the claims against the bounds and the bytes that are left of the column.
func (p *page) check(left int64) error {
	switch {
	case p.compressed < 0 || p.compressed > left || p.uncompressed < 0 || p.values < 0 || p.levels < 0 || p.levels > p.compressed:
		return errors.New("a page header is damaged: its sizes do not fit the file")
	case p.uncompressed > maxPage:
		return tooLarge("a page has %d bytes", p.uncompressed, maxPage)
	case p.values > maxPageValues:
		return tooLarge("a page has %d values", p.values, maxPageValues)
	case p.uncompressed > freeRatio && p.uncompressed > maxRatio*p.compressed:
		return fmt.Errorf("a page of %d bytes claims to hold %d", p.compressed, p.uncompressed)
	}
	return nil
}

// checkCodec makes sure that a page holds no more than its header says, which the library
// would find out only by holding it.
func (p *page) checkCodec(in io.Reader, codec format.CompressionCodec) error {
	if p.stored {
		return nil
	}
	if _, err := io.CopyN(io.Discard, in, p.levels); err != nil {
		return err
	}
	want := p.uncompressed - p.levels
	var unpacked io.Reader
	switch codec {
	case format.Snappy:
		claimed, err := binary.ReadUvarint(bufio.NewReader(in))
		if (err != nil || claimed > uint64(max(0, want))) && p.compressed > p.levels {
			return errors.New("a page is damaged: it is longer than its header says")
		}
		return nil
	case format.Gzip:
		z, err := gzip.NewReader(in)
		if err != nil {
			return fmt.Errorf("a page is damaged: %w", err)
		}
		unpacked = z
	case format.Zstd:
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxPage))
		if err != nil {
			return fmt.Errorf("a page is damaged: %w", err)
		}
		defer z.Close()
		unpacked = z
	case format.Brotli:
		unpacked = brotli.NewReader(in)
	default:
		return nil
	}
	n, err := io.Copy(io.Discard, io.LimitReader(unpacked, want+1))
	if err != nil {
		return fmt.Errorf("a page is damaged: %w", err)
	}
	if n > want {
		return errors.New("a page is damaged: it is longer than its header says")
	}
	return nil
}
