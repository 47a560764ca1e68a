package abi

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// Lists, slots and kinds of values.
const (
	ListMagic = 0x54535254
	MaxRank   = 6
	// SlotNone marks an absent operand, SlotParams the params block of a submit.
	SlotNone      uint32 = 0xFFFFFFFF
	SlotParams    uint32 = 0xFFFFFFFE
	KindTransient uint8  = 0 // made and used inside the list; nobody else reads it
	KindInput     uint8  = 1 // written by the host side before the list
	KindOutput    uint8  = 2 // read after the list
	KindConstant  uint8  = 3 // never changes while bound: may be prepacked
	KindState     uint8  = 4 // lives across lists; changed only by ops that say so
)

// Operand mirrors trainer_operand.
type Operand struct {
	Slot     uint32
	DType    uint32
	ValueID  uint32
	Kind     uint8
	Rank     uint8
	BoundDim uint8
	BoundBy  uint8
	Offset   uint64
	Bytes    uint64
	Shape    [6]int64
	Stride   [6]int64
}

// Record mirrors trainer_record.
type Record struct {
	Size      uint32 // bytes of the whole record, a multiple of 8
	Op        uint32
	Version   uint16
	Flags     uint16
	Lane      uint16 // 0 compute, 1 copy, 2 collective
	NAfter    uint16
	NOutputs  uint16
	NInputs   uint16
	AttrBytes uint32
}

// List mirrors trainer_list.
type List struct {
	StructSize  uint32
	Magic       uint32
	ABIMajor    uint16
	ABIMinor    uint16
	RecordCount uint32
	SlotCount   uint32
	ParamsBytes uint32
	Bytes       uint64 // header and records
	Serial      uint64 // names the list in errors
}

// listMinor is the minor since which lists look as they do: an older backend refuses a list
// of a newer minor than its own.
const listMinor = 1

const (
	listBytes    = 40
	recordBytes  = 24
	operandBytes = 128
)

// ListBuilder encodes records one behind the other. The zero value is an empty list.
type ListBuilder struct {
	records []byte
	count   uint32
}

// Record appends one kernel call. after are indexes of earlier records.
func (b *ListBuilder) Record(op Op, flags, lane uint16, after []uint32, outputs, inputs []Operand, attr []byte) {
	attr = append(attr[:len(attr):len(attr)], make([]byte, padding(len(attr)))...)
	tail := 4*len(after) + padding(4*len(after))
	r := Record{Size: uint32(recordBytes + operandBytes*(len(outputs)+len(inputs)) + len(attr) + tail), Op: uint32(op), Version: 1, Flags: flags,
		Lane: lane, NAfter: uint16(len(after)), NOutputs: uint16(len(outputs)), NInputs: uint16(len(inputs)), AttrBytes: uint32(len(attr))}
	b.records = append(b.records, AttrBytes(r)...)
	for _, operands := range [][]Operand{outputs, inputs} {
		for _, o := range operands {
			b.records = append(b.records, AttrBytes(o)...)
		}
	}
	b.records = append(b.records, attr...)
	for _, i := range after {
		b.records = binary.LittleEndian.AppendUint32(b.records, i)
	}
	b.records = append(b.records, make([]byte, padding(4*len(after)))...)
	b.count++
}

// padding is what brings n to a multiple of 8.
func padding(n int) int { return -n & 7 }

// Finish returns the list: header and records.
func (b *ListBuilder) Finish(serial uint64, slots, paramsBytes uint32) []byte {
	h := List{StructSize: listBytes, Magic: ListMagic, ABIMajor: ABIMajor, ABIMinor: listMinor, RecordCount: b.count,
		SlotCount: slots, ParamsBytes: paramsBytes, Bytes: uint64(listBytes + len(b.records)), Serial: serial}
	return append(AttrBytes(h), b.records...)
}

// ListIdentity reads what names a list and how many records it has; zeros for less than
// a header.
func ListIdentity(list []byte) (serial uint64, records uint32) {
	if len(list) < listBytes {
		return 0, 0
	}
	var h List
	serial = binary.LittleEndian.Uint64(list[unsafe.Offsetof(h.Serial):])
	return serial, binary.LittleEndian.Uint32(list[unsafe.Offsetof(h.RecordCount):])
}

// DecodedRecord is one record of a list, taken apart.
type DecodedRecord struct {
	Record
	Outputs, Inputs []Operand
	Attr            []byte
	After           []uint32
}

// DecodeList takes a list apart. It trusts no length it reads.
func DecodeList(list []byte) (List, []DecodedRecord, error) {
	var h List
	if err := decode(list, &h); err != nil || h.Magic != ListMagic || h.Bytes != uint64(len(list)) || h.StructSize < listBytes {
		return h, nil, fmt.Errorf("not a list of %d bytes", len(list))
	}
	var out []DecodedRecord
	rest := list[min(int(h.StructSize), len(list)):]
	for i := range h.RecordCount {
		r, err := decodeRecord(rest)
		if err != nil {
			return h, nil, fmt.Errorf("record %d: %w", i, err)
		}
		out = append(out, r)
		rest = rest[r.Size:]
	}
	if len(rest) != 0 {
		return h, nil, fmt.Errorf("%d bytes behind the last record", len(rest))
	}
	return h, out, nil
}

func decodeRecord(b []byte) (r DecodedRecord, err error) {
	if err := decode(b, &r.Record); err != nil {
		return r, err
	}
	operands := int(r.NOutputs) + int(r.NInputs)
	want := recordBytes + operandBytes*operands + int(r.AttrBytes) + 4*int(r.NAfter) + padding(4*int(r.NAfter))
	if int(r.Size) != want || int(r.Size) > len(b) || r.AttrBytes%8 != 0 {
		return r, fmt.Errorf("size %d, expected %d of %d", r.Size, want, len(b))
	}
	b = b[recordBytes:]
	for i := range operands {
		var o Operand
		if err := decode(b, &o); err != nil {
			return r, err
		}
		if b = b[operandBytes:]; i < int(r.NOutputs) {
			r.Outputs = append(r.Outputs, o)
		} else {
			r.Inputs = append(r.Inputs, o)
		}
	}
	r.Attr = b[:r.AttrBytes]
	b = b[r.AttrBytes:]
	for i := range int(r.NAfter) {
		r.After = append(r.After, binary.LittleEndian.Uint32(b[4*i:]))
	}
	return r, nil
}

func decode(b []byte, v any) error {
	if _, err := binary.Decode(b, binary.LittleEndian, v); err != nil {
		return fmt.Errorf("cut off: %w", err)
	}
	return nil
}
