package plugin

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/fault"
)

// tiny opens the test backend's device.
func tiny(t testing.TB, flags ...string) *Device {
	t.Helper()
	b, err := Load("tiny", compile(t, t.TempDir(), "tiny", flags...))
	require.NoError(t, err)
	d, err := b.OpenDevice(0, DeviceOptions{Threads: 3})
	require.NoError(t, err)
	return d
}

// list is a list of one copy that is named serial in errors.
func list(serial uint64) []byte {
	var b abi.ListBuilder
	o := abi.Operand{Slot: 0, DType: uint32(abi.F32), Rank: 1, Bytes: 4, Shape: [6]int64{1}, Stride: [6]int64{1}}
	b.Record(abi.OpCopy, 0, 0, nil, []abi.Operand{o}, []abi.Operand{o}, nil)
	return b.Finish(serial, 1, 8)
}

func TestADeviceIsCalledThroughTheTable(t *testing.T) {
	d := tiny(t)
	assert.Equal(t, "tiny", d.Info().Name)
	assert.Equal(t, "tiny", d.Backend())
	assert.False(t, d.HasPlans())
	_, err := d.NewPlan(list(1), nil, Binding{})
	assert.ErrorContains(t, err, "plan_create: unsupported")
	answers, err := d.QueryOps([]abi.OpQuery{{Op: uint32(abi.OpCopy)}, {Op: uint32(abi.OpLinear)}})
	require.NoError(t, err)
	assert.EqualValues(t, abi.LevelOk, answers[0].Level)
	assert.EqualValues(t, abi.LevelNone, answers[1].Level)
	report, err := d.CheckList(list(1))
	require.NoError(t, err)
	assert.EqualValues(t, 4096, report.WorkspaceBytes)
	stats, err := d.Stats()
	require.NoError(t, err)
	assert.Zero(t, stats)
	require.NoError(t, d.Close())
	require.NoError(t, d.backend.Shutdown())
}

func TestWorkIsOrderedByTimelines(t *testing.T) {
	d := tiny(t)
	buffer, err := d.Alloc(abi.MemoryStaging, 64)
	require.NoError(t, err)
	require.Len(t, buffer.Bytes(), 64)
	queue, err := d.NewQueue(abi.QueueCompute)
	require.NoError(t, err)
	timeline, err := d.NewTimeline(5)
	require.NoError(t, err)
	work := Submit{List: list(7), Bindings: []Binding{{Buffer: buffer, Offset: 8, Bytes: 56}}, Params: []byte("a param."),
		Waits: []Point{{timeline, 5}}, Signals: []Point{{timeline, 6}}}
	require.NoError(t, queue.Submit(work))
	require.NoError(t, timeline.Wait(6, time.Second))
	assert.Equal(t, "a param.", string(buffer.Bytes()[8:16]))
	value, err := timeline.Read()
	require.NoError(t, err)
	assert.EqualValues(t, 6, value)
	err = timeline.Wait(99, time.Millisecond)
	assert.True(t, IsTimeout(err), err)
	require.NoError(t, timeline.Close())
	require.NoError(t, queue.Close())
	require.NoError(t, d.Free(buffer))
	assert.Nil(t, buffer.Bytes())
}

func TestAFailedCallNamesBackendCallListAndRecord(t *testing.T) {
	d := tiny(t)
	_, err := d.Alloc(abi.MemoryDevice, 1<<40)
	assert.EqualError(t, err, "backend tiny: buffer_alloc: out of memory: half a GiB is all there is")
	assert.Equal(t, int(fault.Memory), fault.ExitCode(err))
	empty := (&abi.ListBuilder{}).Finish(41, 0, 0)
	_, err = d.CheckList(empty)
	assert.EqualError(t, err, "backend tiny: list_check: invalid, list 41, record 0: no record")
	assert.Equal(t, int(fault.Device), fault.ExitCode(err))
	_, err = d.backend.OpenDevice(7, DeviceOptions{})
	assert.ErrorContains(t, err, "there is no such device")

	queue, err := d.NewQueue(abi.QueueCompute)
	require.NoError(t, err)
	timeline, err := d.NewTimeline(0)
	require.NoError(t, err)
	require.NoError(t, queue.Submit(Submit{List: list(13), Params: make([]byte, 8), Signals: []Point{{timeline, 1}}}))
	err = timeline.Wait(1, time.Second)
	assert.EqualError(t, err, "backend tiny: timeline_wait: internal, list 13, record 2: division by a pony")
	var e *Error
	require.True(t, errors.As(err, &e))
	assert.Equal(t, abi.StatusInternal, e.Status)
}

func TestALostDeviceStaysLost(t *testing.T) {
	d := tiny(t)
	queue, err := d.NewQueue(abi.QueueCompute)
	require.NoError(t, err)
	first := queue.Submit(Submit{List: list(14), Params: make([]byte, 8)})
	assert.EqualError(t, first, "backend tiny: submit: device lost, list 14: it fell off the bus")
	_, err = d.Alloc(abi.MemoryDevice, 8)
	assert.Equal(t, first, err)
	require.NoError(t, d.Close())
}

func TestASubmitAllocatesNothing(t *testing.T) {
	d := tiny(t)
	queue, err := d.NewQueue(abi.QueueCompute)
	require.NoError(t, err)
	timeline, err := d.NewTimeline(0)
	require.NoError(t, err)
	buffer, err := d.Alloc(abi.MemoryStaging, 64)
	require.NoError(t, err)
	value := uint64(0)
	work := Submit{List: list(7), Bindings: []Binding{{Buffer: buffer, Bytes: 64}}, Params: make([]byte, 8), Signals: []Point{{timeline, 0}}}
	allocs := testing.AllocsPerRun(100, func() {
		value++
		work.Signals[0].Value = value
		assertNil(queue.Submit(work))
		assertNil(timeline.Wait(value, time.Second))
	})
	assert.LessOrEqual(t, allocs, 4.0+raceAllocs, "allocations of a submit and a wait")
}

func assertNil(err error) {
	if err != nil {
		panic(err)
	}
}

func TestCallsFromManyGoroutines(t *testing.T) {
	d := tiny(t)
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for range 50 {
				b, err := d.Alloc(abi.MemoryStaging, 4096)
				if !assert.NoError(t, err) {
					return
				}
				b.Bytes()[0], b.Bytes()[4095] = byte(i), byte(i)
				assert.NoError(t, d.Free(b))
				_, err = d.CheckList((&abi.ListBuilder{}).Finish(uint64(i+1), 0, 0))
				var e *Error
				assert.True(t, errors.As(err, &e) && e.List == uint64(i+1), "every call has an error of its own")
			}
		})
	}
	wait.Wait()
}

func BenchmarkSubmit(b *testing.B) {
	d := tiny(b)
	queue, err := d.NewQueue(abi.QueueCompute)
	require.NoError(b, err)
	buffer, err := d.Alloc(abi.MemoryStaging, 64)
	require.NoError(b, err)
	work := Submit{List: list(7), Bindings: []Binding{{Buffer: buffer, Bytes: 64}}, Params: make([]byte, 8)}
	b.ReportAllocs()
	for b.Loop() {
		assertNil(queue.Submit(work))
	}
}
