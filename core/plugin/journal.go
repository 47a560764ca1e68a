package plugin

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"trainer/core/abi"
)

// The journal of a process that works with a backend is a small file in memory that another
// process reads: the call under way, the lists handed over, and a counter that queues raise
// as records complete. It can be read when its writer hangs, and when its writer is dead.

// journalBytes is the file's size; its words are u64 in native order.
const journalBytes = 4096

// The words of a journal.
const (
	journalMoves   = iota // rises with every call that began or ended, but for repeated waits
	journalRecords        // raised by the backend's queues
	journalCounts         // 1: queues raise it
	journalLists          // handed over so far
	journalEnded          // of them, those known to have ended
	journalCall           // bytes of the name of the call under way; 0: none
	journalName           // the name
	journalRing    = 16   // serial, then the count of records up to the list's end, of each list
)

const (
	journalNameBytes = 8 * (journalRing - journalName)
	journalKept      = 64 // lists in the ring
)

// journal is what this process writes; nil words where nobody reads.
var journal struct {
	words   atomic.Pointer[[journalBytes / 8]uint64]
	waiting atomic.Bool // the last call was a wait that timed out
	mu      sync.Mutex
	signals [journalKept]Point // by which each list of the ring shows its end
	records uint64             // of all lists handed over
}

// KeepJournal makes this process write its journal into a file of NewJournal, until it ends.
func KeepJournal(f *os.File) error {
	raw, err := syscall.Mmap(int(f.Fd()), 0, journalBytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map the journal: %w", err)
	}
	journal.words.Store((*[journalBytes / 8]uint64)(unsafe.Pointer(&raw[0])))
	return nil
}

// enter notes that a call begins. leave notes its end.
func enter(call string) {
	words := journal.words.Load()
	if words == nil {
		return
	}
	if !journal.waiting.Load() || call != callWait {
		atomic.AddUint64(&words[journalMoves], 1)
	}
	name := unsafe.Slice((*byte)(unsafe.Pointer(&words[journalName])), journalNameBytes)
	atomic.StoreUint64(&words[journalCall], uint64(copy(name, call)))
}

func leave(call string, status abi.Status) {
	words := journal.words.Load()
	if words == nil {
		return
	}
	late := call == callWait && status == abi.StatusTimeout
	journal.waiting.Store(late)
	if !late {
		atomic.AddUint64(&words[journalMoves], 1)
	}
	atomic.StoreUint64(&words[journalCall], 0)
}

// handOver notes a list before it is submitted; signals are the submit's. takeBack undoes it
// for a list that was refused.
func handOver(serial uint64, records uint32, signals []Point) {
	words := journal.words.Load()
	if words == nil {
		return
	}
	journal.mu.Lock()
	defer journal.mu.Unlock()
	at := words[journalLists] % journalKept
	journal.records += uint64(records)
	journal.signals[at] = Point{}
	if len(signals) > 0 {
		journal.signals[at] = signals[0]
	}
	words[journalRing+2*at], words[journalRing+2*at+1] = serial, journal.records
	atomic.AddUint64(&words[journalLists], 1)
}

func takeBack(records uint32) {
	words := journal.words.Load()
	if words == nil {
		return
	}
	journal.mu.Lock()
	defer journal.mu.Unlock()
	journal.records -= uint64(records)
	atomic.AddUint64(&words[journalLists], ^uint64(0))
}

// reached notes that the lists up to the one that signals the point have ended.
func reached(p Point) {
	words := journal.words.Load()
	if words == nil {
		return
	}
	journal.mu.Lock()
	defer journal.mu.Unlock()
	for i := words[journalLists]; i > words[journalEnded] && words[journalLists]-i < journalKept; i-- {
		s := journal.signals[(i-1)%journalKept]
		if s.Timeline == p.Timeline && s.Value <= p.Value {
			atomic.StoreUint64(&words[journalEnded], i)
			return
		}
	}
}

// outstanding reports whether a list may still run, as far as this process knows.
func outstanding() bool {
	words := journal.words.Load()
	return words == nil || atomic.LoadUint64(&words[journalLists]) > atomic.LoadUint64(&words[journalEnded])
}

// countRecords lets a queue raise the journal's counter, where its backend can.
func (q *Queue) countRecords() error {
	words := journal.words.Load()
	b := q.device.backend
	if words == nil || b.table.QueueProgress == 0 {
		return nil
	}
	p := newPinned()
	defer p.release()
	err := q.device.call(p, "queue_progress", b.table.QueueProgress, uintptr(q.handle), uintptr(unsafe.Pointer(&words[journalRecords])))
	if err == nil {
		atomic.StoreUint64(&words[journalCounts], 1)
	}
	return err
}

// Sighting is where a process is, as its journal tells.
type Sighting struct {
	Moves  uint64 // changes whenever it gets on
	Call   string // into the backend, under way; empty = none
	List   uint64 // serial of the list that runs; 0 = none
	Record int    // of the list, the first that is not complete; -1 = not known
}

// Phase is what a call is for, by which it is known how long it may take.
type Phase int

// The phases.
const (
	PhaseRunning   Phase = iota
	PhaseLoading         // the file, and the query
	PhaseCompiling       // opening a device, checking a list, making a plan
)

// Phase is what the call under way is for.
func (s Sighting) Phase() Phase {
	switch s.Call {
	case callLoad, callQuery:
		return PhaseLoading
	case callOpen, callCheck, callPlan:
		return PhaseCompiling
	}
	return PhaseRunning
}

// ReadJournal reads another process's journal. What stands there is believed no further
// than it makes sense: a backend may have written to it.
func ReadJournal(f *os.File) (s Sighting, err error) {
	var raw [journalBytes]byte
	if _, err := f.ReadAt(raw[:], 0); err != nil {
		return s, fmt.Errorf("read the journal: %w", err)
	}
	word := func(i uint64) uint64 { return binary.NativeEndian.Uint64(raw[8*i:]) }
	s = Sighting{Moves: word(journalMoves) + word(journalRecords), Record: -1}
	s.Call = text(raw[8*journalName:][:min(word(journalCall), journalNameBytes)])
	lists, ended := word(journalLists), word(journalEnded)
	for i := max(ended, lists-min(lists, journalKept)); i < lists; i++ {
		at := journalRing + 2*(i%journalKept)
		if word(journalCounts) == 1 && word(at+1) <= word(journalRecords) {
			continue // it has ended, and nobody waited for it yet
		}
		s.List = word(at)
		before := recordsBefore(word, i)
		if done := word(journalRecords) - before; word(journalCounts) == 1 && done < word(at+1)-before {
			s.Record = int(done)
		}
		return s, nil
	}
	return s, nil
}

// recordsBefore is the count of records up to the i-th list.
func recordsBefore(word func(uint64) uint64, i uint64) uint64 {
	if i == 0 {
		return 0
	}
	return word(journalRing + 2*((i-1)%journalKept) + 1)
}
