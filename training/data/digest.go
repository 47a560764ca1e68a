package data

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Digest tells these examples from others: tokens, labels, record numbers and order.
func (d *Dataset) Digest() string {
	hash := sha256.New()
	var block []byte
	for _, e := range d.Examples {
		block = binary.LittleEndian.AppendUint32(block[:0], uint32(e.Row))
		block = binary.LittleEndian.AppendUint32(block, uint32(len(e.IDs)))
		for i := range e.IDs {
			block = binary.LittleEndian.AppendUint32(block, uint32(e.IDs[i]))
			block = binary.LittleEndian.AppendUint32(block, uint32(e.Labels[i]))
		}
		hash.Write(block)
	}
	return hex.EncodeToString(hash.Sum(nil))
}
