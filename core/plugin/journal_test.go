package plugin

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
)

// What a process does with a backend can be read from its journal.
func TestJournal(t *testing.T) {
	f, err := NewJournal()
	require.NoError(t, err)
	require.NoError(t, KeepJournal(f))
	t.Cleanup(func() { journal.words.Store(nil) })
	sight := func() Sighting {
		s, err := ReadJournal(f)
		require.NoError(t, err)
		return s
	}
	d := tiny(t)
	queue, err := d.NewQueue(abi.QueueCompute)
	require.NoError(t, err)
	timeline, err := d.NewTimeline(0)
	require.NoError(t, err)
	before := sight()
	require.Empty(t, before.Call)
	require.Zero(t, before.List)
	signal := Point{timeline, 1}
	require.NoError(t, queue.Submit(Submit{List: list(21), Params: make([]byte, 8), Signals: []Point{signal}}))
	after := sight()
	require.Greater(t, after.Moves, before.Moves)
	require.Equal(t, []any{uint64(21), -1}, []any{after.List, after.Record}, "this backend counts no records")
	require.NoError(t, timeline.Wait(1, time.Second))
	require.Zero(t, sight().List)
	require.Error(t, queue.Submit(Submit{List: list(14), Params: make([]byte, 8), Signals: []Point{{timeline, 2}}}))
	require.Zero(t, sight().List, "a list that was refused does not run")

	d = tiny(t)
	timeline, err = d.NewTimeline(0)
	require.NoError(t, err)
	require.True(t, IsTimeout(timeline.Wait(9, 10*time.Millisecond)))
	waited := sight().Moves
	ended := make(chan error)
	go func() { ended <- timeline.Wait(9, time.Second) }()
	require.Eventually(t, func() bool { return sight().Call == callWait }, time.Second, time.Millisecond)
	require.True(t, IsTimeout(<-ended))
	require.Equal(t, waited, sight().Moves, "waiting again is no progress")
}

// The record that runs is the first that is not counted.
func TestJournalCountsRecords(t *testing.T) {
	f, err := NewJournal()
	require.NoError(t, err)
	require.NoError(t, KeepJournal(f))
	t.Cleanup(func() { journal.words.Store(nil); journal.records = 0 })
	words := journal.words.Load()
	journal.records = 0
	words[journalCounts] = 1
	handOver(7, 10, nil)
	handOver(8, 5, nil)
	for done, want := range map[uint64][2]int{0: {7, 0}, 9: {7, 9}, 10: {8, 0}, 14: {8, 4}, 15: {0, -1}, 99: {0, -1}} {
		words[journalRecords] = done
		s, err := ReadJournal(f)
		require.NoError(t, err)
		require.Equal(t, want, [2]int{int(s.List), s.Record}, "%d records", done)
	}
}

// A journal into which a backend wrote is read without harm.
func TestJournalOfRubbish(t *testing.T) {
	f, err := NewJournal()
	require.NoError(t, err)
	rubbish := make([]byte, journalBytes)
	for range 2000 {
		for i := range rubbish {
			rubbish[i] = byte(rand.Uint32() >> rand.IntN(32))
		}
		_, err := f.WriteAt(rubbish, 0)
		require.NoError(t, err)
		s, err := ReadJournal(f)
		require.NoError(t, err)
		require.GreaterOrEqual(t, s.Record, -1)
	}
	require.NoError(t, f.Truncate(10))
	_, err = ReadJournal(f)
	require.Error(t, err)
}
