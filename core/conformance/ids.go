package conformance

import (
	"trainer/core/abi"
)

func idBehaviours() []Behaviour {
	return []Behaviour{
		{Group: "ids", Name: "ops that nobody knows", Demand: "id.unknown", Try: (*rig).unknownOps},
		{Group: "ids", Name: "dtypes that nobody knows", Demand: "id.unknown", Try: (*rig).unknownTypes},
		{Group: "ids", Name: "codes that nobody knows", Demand: "id.unknown", Try: (*rig).unknownCodes},
		{Group: "ids", Name: "versions and flags that nobody knows", Demand: "id.unknown", Try: (*rig).unknownVersions},
		{Group: "ids", Name: "kinds that nobody knows", Demand: "id.unknown", Try: (*rig).unknownKinds},
		{Group: "ids", Name: "extensions that nobody knows", Demand: "id.unknown", Needs: []string{"get_extension"}, Try: (*rig).unknownExtension},
		{Group: "ids", Name: "devices that do not exist", Demand: "id.index", Try: (*rig).unknownDevices},
	}
}

func (r *rig) unknownOps() {
	size := uint32(sizeOf(abi.OpQuery{}))
	questions := []abi.OpQuery{
		{StructSize: size, Op: 0, Version: 1}, {StructSize: size, Op: 0xFFFF, Version: 1}, {StructSize: size, Op: 0x80000001, Version: 1},
		{StructSize: size, Op: uint32(abi.OpCopy), Version: 999, DType: uint32(abi.F32)},
		{StructSize: size, Op: uint32(abi.OpCopy), Version: 1, DType: 999},
		{StructSize: size, Op: uint32(abi.OpDequantise), Version: 1, DType: uint32(abi.F32), Format: abi.QuantFormat{Format: 999, Bits: 4, Group: 64}},
		{StructSize: size, Op: uint32(abi.OpLinear), Version: 1, DType: uint32(abi.F32), Compute: uint32(abi.F32), Format: abi.QuantFormat{Format: 999}},
	}
	for i, a := range r.answers(questions) {
		if a.Level != abi.LevelNone {
			r.fail("query_ops answers level %d to op 0x%x, version %d, dtype %d, format %d", a.Level, questions[i].Op, questions[i].Version, questions[i].DType, questions[i].Format.Format)
		}
	}
	for _, op := range []abi.Op{0, 0xFFFF, 0x80000001} {
		r.badRecord("an unknown op", unknown, func(b *abi.ListBuilder) {
			b.Record(op, 0, 0, nil, []abi.Operand{flat(0, abi.F32, abi.KindOutput, 4)}, []abi.Operand{flat(1, abi.F32, abi.KindInput, 4)}, nil)
		})
	}
}

// badRecord demands that a list whose second record is wrong is refused with one of some
// statuses, and that this record is named.
func (r *rig) badRecord(what string, want []abi.Status, record func(*abi.ListBuilder)) {
	r.serial++
	var b abi.ListBuilder
	b.Record(abi.OpCopy, 0, 0, nil, []abi.Operand{flat(0, abi.F32, abi.KindOutput, 4)}, []abi.Operand{flat(1, abi.F32, abi.KindInput, 4)}, nil)
	record(&b)
	a, report := r.check(b.Finish(r.serial, 2, 8))
	r.among(what, want, "list_check", a.Status)
	if report.BadRecord != 1 || a.Error.RecordIndex != 1 {
		panic(&breach{"list.where", errorf("%s stands in record 1; trainer_list_report names record %d, trainer_error record %d", what, int32(report.BadRecord), int32(a.Error.RecordIndex))})
	}
	if a.Error.ListSerial != r.serial {
		panic(&breach{"list.where", errorf("%s: trainer_error names list %d, the list is %d", what, a.Error.ListSerial, r.serial)})
	}
}

func (r *rig) unknownTypes() {
	for _, dtype := range []uint32{0, 15, 99, 0x80000001} {
		o := flat(0, abi.F32, abi.KindOutput, 4)
		o.DType = dtype
		r.badRecord("an unknown dtype", unknown, func(b *abi.ListBuilder) {
			b.Record(abi.OpFill, 0, 0, nil, []abi.Operand{o}, nil, abi.AttrBytes(abi.AttrFill{}))
		})
	}
}

func (r *rig) unknownCodes() {
	out, in := []abi.Operand{flat(0, abi.F32, abi.KindOutput, 4)}, flat(1, abi.F32, abi.KindInput, 4)
	for _, code := range []uint32{0, 999, 0x80000001} {
		r.badRecord("an unknown code of unary", unknown, func(b *abi.ListBuilder) {
			b.Record(abi.OpUnary, 0, 0, nil, out, []abi.Operand{in}, abi.AttrBytes(abi.AttrUnary{Code: code}))
		})
		r.badRecord("an unknown code of binary", unknown, func(b *abi.ListBuilder) {
			b.Record(abi.OpBinary, 0, 0, nil, out, []abi.Operand{in, in}, abi.AttrBytes(abi.AttrBinary{Code: code}))
		})
		r.badRecord("an unknown code of reduce", unknown, func(b *abi.ListBuilder) {
			b.Record(abi.OpReduce, 0, 0, nil, []abi.Operand{flat(0, abi.F32, abi.KindOutput, 1)}, []abi.Operand{in}, abi.AttrBytes(abi.AttrReduce{Code: code}))
		})
	}
}

func (r *rig) unknownVersions() {
	r.badRecord("unknown flags", unknown, func(b *abi.ListBuilder) {
		b.Record(abi.OpCopy, 0x8000, 0, nil, []abi.Operand{flat(0, abi.F32, abi.KindOutput, 4)}, []abi.Operand{flat(1, abi.F32, abi.KindInput, 4)}, nil)
	})
	list := r.twoCopies()
	put16(list[secondRecord(list)+8:], 999)
	a, _ := r.check(list)
	r.among("an unknown version of an op", unknown, "list_check", a.Status)
	list = r.twoCopies()
	put16(list[8:], abi.ABIMajor+1)
	a, _ = r.check(list)
	r.among("a list of another major version", unknown, "list_check", a.Status)
}

func (r *rig) unknownKinds() {
	var queue uint64
	r.refused("a queue of kind 999", unknown, "queue_create", r.device, uint32(999), &queue)
	_, a := r.alloc(999, 64)
	r.among("memory of kind 999", unknown, "buffer_alloc", a.Status)
}

func (r *rig) unknownExtension() {
	table := make([]byte, 64)
	r.refused("an extension nobody knows", unknown, "get_extension", uint64(0x8FFFFFFF12345678), uint64(len(table)), table)
	for i, x := range table {
		if x != 0 {
			r.fail("get_extension refuses an extension and yet writes byte %d of its table", i)
		}
	}
}

func (r *rig) unknownDevices() {
	info, options := abi.DeviceInfo{StructSize: uint32(sizeOf(r.info))}, abi.DeviceOptions{StructSize: uint32(sizeOf(abi.DeviceOptions{}))}
	var count uint32
	var device uint64
	r.ok("device_count", &count)
	for _, index := range []uint32{count, count + 1, 1 << 20, 1<<32 - 1} {
		r.refused("a device behind the last", invalid, "device_info", index, &info)
		r.refused("a device behind the last", invalid, "device_open", index, &options, &device)
	}
}
