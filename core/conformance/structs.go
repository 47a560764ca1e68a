package conformance

import (
	"bytes"
	"encoding/binary"

	"trainer/core/abi"
)

func structBehaviours() []Behaviour {
	return []Behaviour{
		{Group: "structs", Name: "device_info of every size", Demand: "struct.output", Try: (*rig).infoSizes},
		{Group: "structs", Name: "trainer_error of every size", Demand: "struct.output", Try: (*rig).errorSizes},
		{Group: "structs", Name: "results longer than known", Demand: "struct.output", Try: (*rig).longResults},
		{Group: "structs", Name: "arguments longer than known", Demand: "struct.input", Try: (*rig).longArguments},
		{Group: "structs", Name: "options shorter than known", Demand: "struct.input", Try: (*rig).shortOptions},
		{Group: "structs", Name: "lists with a longer header", Demand: "struct.input", Try: (*rig).longList},
		{Group: "structs", Name: "submits longer than known", Demand: "struct.input", Try: (*rig).longSubmit},
		{Group: "structs", Name: "arrays of longer structs", Demand: "struct.array", Try: (*rig).longArrays},
		{Group: "structs", Name: "no trainer_error", Demand: "error.null", Try: (*rig).nullError},
		{Group: "structs", Name: "hosts of other versions", Demand: "query.version", Try: (*rig).versions},
	}
}

// filler is what stands behind the bytes that a struct_size covers.
const filler = 0x5A

// frame is room for a struct of a struct_size, all filler, in more memory than that.
func frame(size, room int) []byte {
	b := bytes.Repeat([]byte{filler}, room)
	binary.LittleEndian.PutUint32(b, uint32(size))
	return b
}

// extended is a struct with bytes behind it that no reader knows.
func extended(own []byte, more int) []byte {
	b := append(bytes.Clone(own), bytes.Repeat([]byte{filler}, more)...)
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b
}

// untouched demands filler from a byte on, and the struct_size that was there.
func (r *rig) untouched(what string, b []byte, from, size int) {
	for i, x := range b[from:] {
		if x != filler {
			r.fail("%s: byte %d was written, which a struct_size of %d does not cover or the backend does not know", what, from+i, size)
		}
	}
	if now := int(binary.LittleEndian.Uint32(b)); now != size {
		r.fail("%s: struct_size was changed from %d to %d", what, size, now)
	}
}

func (r *rig) infoSizes() {
	full := sizeOf(r.info)
	for _, size := range []int{8, 16, 24, 72, 104, full - 8, full, full + 8, full + 512} {
		b := frame(size, full+1024)
		r.ok("device_info", r.index, b)
		r.untouched("device_info", b, min(size, full), size)
		if got := binary.LittleEndian.Uint32(b[4:]); size >= 8 && got != r.info.DeviceClass {
			r.fail("device_info of struct_size %d: device_class is %d, of the full size it is %d", size, got, r.info.DeviceClass)
		}
	}
}

func (r *rig) errorSizes() {
	var known abi.Error
	full, head := sizeOf(known), sizeOf(known)-len(known.Text)
	for _, size := range []int{8, 16, 24, head, head + 1, head + 8, head + 40, full, full + 8, full + 256} {
		b := frame(size, full+1024)
		status := r.CallWith("device_info", b, uint32(1<<20), &abi.DeviceInfo{StructSize: uint32(sizeOf(r.info))})
		if status == abi.StatusOK {
			r.fail("device_info of device %d answers ok", 1<<20)
		}
		r.untouched("trainer_error", b, min(size, full), size)
		if size > head && bytes.IndexByte(b[head:min(size, full)], 0) < 0 {
			r.fail("a trainer_error with room for %d bytes of text got text without an end", min(size, full)-head)
		}
	}
}

func (r *rig) longResults() {
	desc := abi.BufferDesc{Memory: abi.MemoryStaging, Bytes: 64}
	desc.StructSize = uint32(sizeOf(desc))
	own := sizeOf(abi.Buffer{})
	b := frame(own+64, own+256)
	r.ok("buffer_alloc", r.device, &desc, b)
	r.untouched("trainer_buffer", b, own, own+64)
	r.ok("buffer_free", r.device, binary.LittleEndian.Uint64(b[8:]))
	own = sizeOf(abi.ListReport{})
	b = frame(own+64, own+256)
	r.ok("list_check", r.device, r.copying(64), b)
	r.untouched("trainer_list_report", b, own, own+64)
	if r.backend.Has("device_stats") {
		own = sizeOf(abi.DeviceStats{})
		b = frame(own+64, own+256)
		r.ok("device_stats", r.device, b)
		r.untouched("trainer_device_stats", b, own, own+64)
		b = frame(16, own+256)
		r.ok("device_stats", r.device, b)
		r.untouched("trainer_device_stats", b, 16, 16)
	}
}

func (r *rig) longArguments() {
	var out abi.Buffer
	out.StructSize = uint32(sizeOf(out))
	desc := abi.AttrBytes(abi.BufferDesc{Memory: abi.MemoryStaging, Bytes: 64})
	r.ok("buffer_alloc", r.device, extended(desc, 64), &out)
	r.ok("buffer_free", r.device, out.Handle)
	var device uint64
	r.ok("device_open", r.index, extended(abi.AttrBytes(abi.DeviceOptions{Deterministic: 1}), 64), &device)
	r.ok("device_close", device)
}

// shortOptions gives options that end before memory_limit; what stands there is no limit.
func (r *rig) shortOptions() {
	first := r.device
	defer func() { r.device = first }()
	b := frame(8, 64)
	binary.LittleEndian.PutUint32(b[4:], 1)
	binary.LittleEndian.PutUint64(b[8:], 1)  // one byte of memory
	binary.LittleEndian.PutUint64(b[16:], 1) // one thread
	r.ok("device_open", r.index, b, &r.device)
	r.free(r.staging(1 << 16))
	r.ok("device_close", r.device)
}

func (r *rig) longList() {
	list := r.copying(64)
	head := extended(list[:40], 24)
	longer := append(head, list[40:]...)
	binary.LittleEndian.PutUint64(longer[24:], uint64(len(longer)))
	a, _ := r.check(longer)
	r.among("a list whose header is 24 bytes longer", fine, "list_check", a.Status)
}

func (r *rig) longSubmit() {
	from, to, queue, done := r.staging(64), r.staging(64), r.queue(), r.timeline(0)
	copy(from.host, "a longer submit")
	w := r.copyWork(to, from)
	w.signals = []abi.TimelinePoint{point(done, 1)}
	given := &struct {
		abi.Submit
		More [64]byte
	}{Submit: r.encode(w)}
	given.StructSize = uint32(sizeOf(*given))
	for i := range given.More {
		given.More[i] = filler
	}
	r.ok("submit", r.device, queue, given)
	r.reached(done, 1)
	if !bytes.Equal(to.host, from.host) {
		r.fail("the work of a longer trainer_submit did another thing")
	}
	r.end([]uint64{queue}, []uint64{done})
	r.free(from, to)
}

// longArrays asks the same questions in longer structs: the answers must be the same.
func (r *rig) longArrays() {
	var questions []abi.OpQuery
	for _, op := range []abi.Op{abi.OpCopy, abi.OpMatmul, 0x7FFF, abi.OpUnary, abi.OpRmsnorm} {
		questions = append(questions, abi.OpQuery{StructSize: uint32(sizeOf(abi.OpQuery{})), Op: uint32(op), Version: 1, DType: uint32(abi.F32)})
	}
	answers := r.answers(questions)
	const more = 40
	size := sizeOf(abi.OpAnswer{}) + more
	var asked, got []byte
	for _, q := range questions {
		asked = append(asked, extended(abi.AttrBytes(q), more)...)
		got = append(got, frame(size, size)...)
	}
	r.ok("query_ops", r.device, asked, len(questions), got)
	for i := range questions {
		one := got[i*size:][:size]
		r.untouched("trainer_op_answer", one, size-more, size)
		if level := binary.LittleEndian.Uint32(one[4:]); level != answers[i].Level {
			r.fail("op 0x%x asked in longer structs has level %d, else %d", questions[i].Op, level, answers[i].Level)
		}
	}
}

func (r *rig) answers(questions []abi.OpQuery) []abi.OpAnswer {
	answers := make([]abi.OpAnswer, len(questions))
	for i := range answers {
		answers[i].StructSize = uint32(sizeOf(answers[i]))
	}
	r.ok("query_ops", r.device, questions, len(questions), answers)
	return answers
}

func (r *rig) nullError() {
	var nothing uint64
	for _, c := range []struct {
		name string
		args []any
	}{
		{"device_info", []any{uint32(1 << 20), &abi.DeviceInfo{StructSize: uint32(sizeOf(r.info))}}},
		{"device_close", []any{^uint64(0)}},
		{"buffer_free", []any{r.device, ^uint64(0)}},
		{"queue_destroy", []any{r.device, ^uint64(0)}},
		{"timeline_destroy", []any{r.device, ^uint64(0)}},
		{"timeline_read", []any{r.device, ^uint64(0), &nothing}},
		{"list_check", []any{r.device, make([]byte, 64), &abi.ListReport{StructSize: uint32(sizeOf(abi.ListReport{}))}}},
	} {
		if status := r.CallWith(c.name, nil, c.args...); status == abi.StatusOK {
			r.fail("%s with an argument that is wrong and no trainer_error answers ok", c.name)
		}
	}
}

// versions asks the query as older, newer and foreign hosts do.
func (r *rig) versions() {
	own := sizeOf(abi.Reply{})
	ask := func(host []byte) (abi.Status, []byte) {
		b := frame(own+64, own+512)
		clear(b[4 : own+64]) // as a host gives it
		binary.LittleEndian.PutUint32(b[own-sizeOf(abi.Error{}):], uint32(sizeOf(abi.Error{})))
		copy(b[own:], bytes.Repeat([]byte{filler}, 64))
		status := r.Query(host, b)
		r.untouched("trainer_reply", b, own, int(binary.LittleEndian.Uint32(b)))
		return status, b
	}
	for _, minor := range []uint32{abi.ABIMinor, abi.ABIMinor + 98} {
		status, b := ask(extended(abi.AttrBytes(abi.HostInfo{ABIMajor: abi.ABIMajor, ABIMinor: minor}), 32))
		r.among("a longer host_info", fine, "the query", status)
		if major, chosen := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:]); major != abi.ABIMajor || chosen > minor {
			r.fail("to a host of version %d.%d it answers version %d.%d", abi.ABIMajor, minor, major, chosen)
		}
	}
	foreign := abi.HostInfo{ABIMajor: abi.ABIMajor + 1, ABIMinor: 0}
	foreign.StructSize = uint32(sizeOf(foreign))
	if status, _ := ask(abi.AttrBytes(foreign)); status == abi.StatusOK {
		r.fail("to a host of major version %d it answers ok", foreign.ABIMajor)
	}
}
