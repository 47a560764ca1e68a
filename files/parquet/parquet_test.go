package parquet

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func file(t testing.TB, name string) []byte {
	raw, err := os.ReadFile(filepath.Join("testdata", name+".parquet"))
	require.NoError(t, err)
	return raw
}

func rows(raw []byte) ([]map[string]any, error) {
	all := []map[string]any{}
	err := Read(bytes.NewReader(raw), int64(len(raw)), func(fields map[string]any) error {
		all = append(all, fields)
		return nil
	})
	return all, err
}

// TestReadsWhatPyarrowReads compares whole tables in every codec and page form.
func TestReadsWhatPyarrowReads(t *testing.T) {
	raw, err := os.ReadFile("testdata/rows.json")
	require.NoError(t, err)
	var want map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(raw, &want))
	for _, name := range []string{"plain_snappy", "plain_zstd", "plain_gzip", "plain_brotli", "plain_lz4", "plain_none", "plain_v2", "plain_pages", "nested", "large_text", "empty"} {
		got, err := rows(file(t, name))
		require.NoError(t, err, name)
		text, err := json.Marshal(got)
		require.NoError(t, err)
		table, _, _ := strings.Cut(name, "_")
		if name == "large_text" {
			table = name
		}
		assert.JSONEq(t, string(want[table]), string(text), name)
	}
}

func TestYieldEndsReading(t *testing.T) {
	stop := errors.New("stop")
	raw, n := file(t, "plain_none"), 0
	err := Read(bytes.NewReader(raw), int64(len(raw)), func(map[string]any) error { n++; return stop })
	assert.Equal(t, stop, err)
	assert.Equal(t, 1, n)
	assert.Panics(t, func() {
		_ = Read(bytes.NewReader(raw), int64(len(raw)), func(map[string]any) error { panic("not ours") })
	})
}

// allocated runs f and gives the bytes it allocated, freed ones included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestBombIsRefused(t *testing.T) {
	raw := file(t, "bomb")
	var err error
	bytes := allocated(func() { _, err = rows(raw) })
	require.ErrorContains(t, err, "a page has 300000010 bytes, more than 268435456")
	assert.Less(t, bytes, uint64(16<<20))
}

func TestRefuses(t *testing.T) {
	good := file(t, "plain_none")
	with := func(at int, value ...byte) []byte {
		raw := bytes.Clone(good)
		copy(raw[at:], value)
		return raw
	}
	footer := func(length uint32) []byte {
		return with(len(good)-8, binary.LittleEndian.AppendUint32(nil, length)...)
	}
	for want, raw := range map[string][]byte{
		"the file has 0 bytes and is no Parquet file":  nil,
		"the file does not end as a Parquet file does": good[:len(good)-1],
		"the footer is longer than the file":           footer(1 << 20),
		"the footer has 4294967295 bytes, more than":   footer(1<<32 - 1),
		"invalid magic header":                         with(0, 'X'),
		"the footer is damaged":                        footer(100),
	} {
		_, err := rows(raw)
		require.ErrorContains(t, err, want)
	}
	// A list that claims 2^31 elements of a struct.
	huge := append([]byte("PAR1"), 0x15, 4, 0x19, 0xFC, 0xFF, 0xFF, 0xFF, 0xFF, 0x07)
	huge = append(binary.LittleEndian.AppendUint32(huge, uint32(len(huge)-4)), "PAR1"...)
	_, err := rows(huge)
	require.ErrorContains(t, err, "the footer is damaged")
}

// TestEveryByteMayBeWrong changes each byte of a file and cuts it everywhere: it loads or is
// refused, soon and within bounds.
func TestEveryByteMayBeWrong(t *testing.T) {
	for _, name := range []string{"large_text", "nested"} {
		good := file(t, name)
		step := 1 + len(good)/1500
		for at := 0; at < len(good); at += step {
			for _, change := range []byte{0x01, 0x80, 0xFF} {
				raw := bytes.Clone(good)
				raw[at] ^= change
				start := time.Now()
				used := allocated(func() { _, _ = rows(raw) })
				require.Less(t, used, uint64(64<<20), "%s, byte %d ^ %x", name, at, change)
				require.Less(t, time.Since(start), 2*time.Second)
			}
			_, err := rows(good[:at])
			require.Error(t, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"plain_snappy", "plain_v2", "nested", "large_text", "empty"} {
		f.Add(file(f, name))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, err := rows(raw)
		if err != nil {
			var ours *Error
			require.ErrorAs(t, err, &ours)
		}
	})
}
