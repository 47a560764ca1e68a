package dump

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func written(t testing.TB, write func(w *Writer)) string {
	path := filepath.Join(t.TempDir(), "step.zip")
	w, err := Create(path, Header{ABI: "0.1", Backend: "some", Device: "one", Step: 3})
	require.NoError(t, err)
	write(w)
	require.NoError(t, w.Close())
	return path
}

func whole(w *Writer) {
	w.Slot(8, nil)
	w.Slot(3, func(to io.Writer) error { _, err := to.Write([]byte{1, 2, 3}); return err })
	w.Write(0, 6, []byte{8, 9})
	w.List([]byte("list"), []byte("params"))
	w.List([]byte("more"), nil)
}

func TestDumpsAreReadAsTheyWereWritten(t *testing.T) {
	d, err := Read(written(t, whole))
	require.NoError(t, err)
	require.Equal(t, Header{"0.1", "some", "one", 3}, d.Header)
	require.Equal(t, [][]byte{make([]byte, 8), {1, 2, 3}}, d.Slots)
	require.Equal(t, []byte{8, 9}, d.Events[0].Data)
	require.Equal(t, int64(6), d.Events[0].Offset)
	require.Equal(t, "list", string(d.Events[1].List))
	require.Equal(t, "params", string(d.Events[1].Params))
	require.Empty(t, d.Events[2].Params)
}

func TestBrokenDumpsAreRefused(t *testing.T) {
	for name, write := range map[string]func(w *Writer){
		"slot of another size": func(w *Writer) {
			w.Slot(4, func(to io.Writer) error { _, err := to.Write([]byte{1}); return err })
		},
		"too large":       func(w *Writer) { w.Slot(1<<60, nil) },
		"negative":        func(w *Writer) { w.Slot(-1, nil) },
		"behind its slot": func(w *Writer) { w.Slot(4, nil); w.Write(0, 3, []byte{1, 2}) },
		"no such slot":    func(w *Writer) { w.Write(7, 0, nil) },
		"no such entry":   func(w *Writer) { w.all.Events = append(w.all.Events, Event{ListFile: "nowhere"}) },
	} {
		_, err := Read(written(t, write))
		require.Error(t, err, name)
	}
	text, err := os.ReadFile(written(t, whole))
	require.NoError(t, err)
	for cut := range text {
		at := filepath.Join(t.TempDir(), "cut")
		require.NoError(t, os.WriteFile(at, text[:cut], 0o600))
		_, err := Read(at)
		require.Error(t, err)
	}
}
