package conformance

import (
	"trainer/core/abi"
)

func bindingBehaviours() []Behaviour {
	return []Behaviour{
		{Group: "bindings", Name: "that do not fit", Demand: "bind.refuse", Try: (*rig).badBindings},
		{Group: "bindings", Name: "params of another size", Demand: "bind.refuse", Try: (*rig).badParams},
		{Group: "bindings", Name: "no workspace where one is needed", Demand: "bind.refuse", Try: (*rig).noWorkspace},
		{Group: "bindings", Name: "that do not fit a plan", Demand: "plan.checks", Needs: planNeeds, Try: (*rig).badPlanBindings},
	}
}

// misfits spoil the bindings of a list that copies 64 bytes from slot 1 to slot 0.
var misfits = map[string]func(*work){
	"no bindings":                        func(w *work) { w.bindings = nil },
	"a binding less than slots":          func(w *work) { w.bindings = w.bindings[:1] },
	"a binding more than slots":          func(w *work) { w.bindings = append(w.bindings, w.bindings[0]) },
	"a binding longer than its buffer":   func(w *work) { w.bindings[1].Bytes = 1 << 40 },
	"a binding of 2^64 - 1 bytes":        func(w *work) { w.bindings[0].Bytes = 1<<64 - 1 },
	"a binding behind its buffer":        func(w *work) { w.bindings[1].Offset = 1 << 40 },
	"offset + bytes beyond 2^64":         func(w *work) { w.bindings[0].Offset = 1<<64 - 64 },
	"a binding shorter than its operand": func(w *work) { w.bindings[1].Bytes = 63 },
	"a binding of nothing":               func(w *work) { w.bindings[0].Bytes = 0 },
	"an operand behind its binding":      func(w *work) { put64(w.list[headBytes+recordBytes+16:], 1<<32) },
}

func (r *rig) badBindings() {
	from, to, queue := r.staging(64), r.staging(64), r.queue()
	for what, spoil := range misfits {
		w := r.copyWork(to, from)
		spoil(&w)
		r.among(what, invalid, "submit", r.submit(queue, w).Status)
	}
	r.end([]uint64{queue}, nil)
	r.free(from, to)
}

func (r *rig) badPlanBindings() {
	from, to := r.staging(64), r.staging(64)
	for what, spoil := range misfits {
		w := r.copyWork(to, from)
		spoil(&w)
		a, _ := r.planned(w)
		r.among(what, invalid, "plan_create", a.Status)
	}
	r.free(from, to)
}

// adding is a list that writes slot 1 plus the f32 in the params block to slot 0.
func (r *rig) adding() []byte {
	r.serial++
	var b abi.ListBuilder
	param := flat(abi.SlotParams, abi.F32, abi.KindInput, 1)
	param.ValueID = 9
	b.Record(abi.OpBinary, 0, 0, nil, []abi.Operand{flat(0, abi.F32, abi.KindOutput, 1)}, []abi.Operand{flat(1, abi.F32, abi.KindInput, 1), param},
		abi.AttrBytes(abi.AttrBinary{Code: abi.BinaryAdd}))
	return b.Finish(r.serial, 2, 8)
}

func (r *rig) badParams() {
	from, to, queue := r.staging(64), r.staging(64), r.queue()
	for _, n := range []int{0, 4, 16} {
		w := work{list: r.adding(), bindings: []abi.Binding{whole(to), whole(from)}, params: make([]byte, n)}
		r.among("params of another size than the list has", invalid, "submit", r.submit(queue, w).Status)
	}
	s := r.encode(work{list: r.adding(), bindings: []abi.Binding{whole(to), whole(from)}})
	s.ParamsBytes = 8
	r.refused("params that are missing", invalid, "submit", r.device, queue, &s)
	r.end([]uint64{queue}, nil)
	r.free(from, to)
}

// noWorkspace submits the first list of all that needs a workspace without one.
func (r *rig) noWorkspace() {
	for _, list := range r.everyList() {
		a, report := r.check(list)
		if a.Status != abi.StatusOK || report.WorkspaceBytes == 0 {
			continue
		}
		head, records, err := abi.DecodeList(list)
		if err != nil {
			r.fail("%v", err)
		}
		room := r.staging(listRoom(records))
		w := work{list: list, params: make([]byte, head.ParamsBytes)}
		for range head.SlotCount {
			w.bindings = append(w.bindings, whole(room))
		}
		queue := r.queue()
		r.among("no workspace", invalid, "submit", r.submit(queue, w).Status)
		s := r.encode(w)
		s.Workspace = abi.Binding{Buffer: room.handle, Bytes: report.WorkspaceBytes - 1}
		r.refused("a workspace that is too small", invalid, "submit", r.device, queue, &s)
		r.end([]uint64{queue}, nil)
		r.free(room)
		return
	}
	r.skip("no op of it needs a workspace")
}

// listRoom is what the largest slot of a list needs.
func listRoom(records []abi.DecodedRecord) (bytes uint64) {
	for _, record := range records {
		for _, o := range append(record.Outputs, record.Inputs...) {
			if o.Slot < abi.SlotParams {
				bytes = max(bytes, o.Offset+o.Bytes)
			}
		}
	}
	return bytes + 4096
}
