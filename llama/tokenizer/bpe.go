package tokenizer

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// bpe is the byte-pair encoding model: a word is cut into characters, and the
// adjacent pair of lowest rank is merged until none is left (Sennrich et al.
// 2016, "Neural Machine Translation of Rare Words with Subword Units").
type bpe struct {
	vocab  map[string]int32
	ranks  map[pair]uint32 // the rank of each merge: lower merges first
	merged []int32         // by rank: the id that the merge yields

	bytes        *[256]int32 // ids of <0x00>…<0xFF>, -1 where absent; nil = no byte fallback
	unknown      int32       // -1 = none
	fuseUnknown  bool
	ignoreMerges bool
	cutAtSpace   bool // see canCutAtSpace

	cache *wordCache
}

type pair struct{ left, right int32 }

const spaceMark = "▁" // U+2581, SentencePiece's visible space

// encode appends the ids of a word.
func (m *bpe) encode(ids []int32, text string) []int32 {
	if !m.cutAtSpace {
		return m.encodeWord(ids, text)
	}
	for text != "" {
		end := spaceCut(text)
		ids = m.encodeWord(ids, text[:end])
		text = text[end:]
	}
	return ids
}

// spaceCut returns the length of the leading run of space marks and what follows
// up to the next space mark.
func spaceCut(text string) int {
	i := 0
	for strings.HasPrefix(text[i:], spaceMark) {
		i += len(spaceMark)
	}
	if next := strings.Index(text[i:], spaceMark); next >= 0 {
		return i + next
	}
	return len(text)
}

// complete says whether every character yields at least one symbol. One that does
// not would make neighbours of the symbols beside it.
func (m *bpe) complete() bool {
	return m.unknown >= 0 || m.bytes != nil && !slices.Contains(m.bytes[:], -1)
}

// canCutAtSpace says whether no merge joins something that does not end in a
// space mark with something that begins with one. Then a text can be cut before
// every such space mark, encoded word by word, and yields the same ids.
func canCutAtSpace(vocab map[string]int32, merges [][2]string) bool {
	if _, ok := vocab[spaceMark]; !ok {
		return false
	}
	for _, m := range merges {
		if strings.HasPrefix(m[1], spaceMark) && !strings.HasSuffix(m[0], spaceMark) {
			return false
		}
	}
	return true
}

func (m *bpe) encodeWord(ids []int32, text string) []int32 {
	if m.ignoreMerges {
		if id, ok := m.vocab[text]; ok {
			return append(ids, id)
		}
	}
	if cached, ok := m.cache.get(text); ok {
		return append(ids, cached...)
	}
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	s.reset()
	m.characters(s, text)
	m.mergeAll(s)
	first := len(ids)
	for i := range s.symbols {
		if s.symbols[i].id != dead {
			ids = append(ids, s.symbols[i].id)
		}
	}
	m.cache.put(text, ids[first:])
	return ids
}

// characters fills s with one symbol per character: its id, or its bytes' ids,
// or the unknown token.
func (m *bpe) characters(s *scratch, text string) {
	pending := false // an unknown token not yet written
	for i := 0; i < len(text); {
		_, size := utf8.DecodeRuneInString(text[i:])
		char := text[i : i+size]
		i += size
		if id, ok := m.vocab[char]; ok {
			if pending {
				s.add(m.unknown)
				pending = false
			}
			s.add(id)
			continue
		}
		if m.addBytes(s, char) || m.unknown < 0 {
			continue
		}
		if pending && !m.fuseUnknown {
			s.add(m.unknown)
		}
		pending = true
	}
	if pending {
		s.add(m.unknown)
	}
}

// addBytes adds the byte tokens of char if the vocabulary has all of them.
func (m *bpe) addBytes(s *scratch, char string) bool {
	if m.bytes == nil {
		return false
	}
	for i := 0; i < len(char); i++ {
		if m.bytes[char[i]] < 0 {
			return false
		}
	}
	for i := 0; i < len(char); i++ {
		s.add(m.bytes[char[i]])
	}
	return true
}

// mergeAll merges until no adjacent pair has a merge: the lowest rank first and
// the leftmost of equals. Every merge queues at most two new candidates, so n
// symbols cost O(n log n).
func (m *bpe) mergeAll(s *scratch) {
	for i := 0; i+1 < len(s.symbols); i++ {
		if rank, ok := m.ranks[pair{s.symbols[i].id, s.symbols[i+1].id}]; ok {
			s.queue = append(s.queue, candidate(rank, int32(i)))
		}
	}
	s.queue.order()
	for len(s.queue) > 0 {
		rank, pos := s.queue.pop()
		left := &s.symbols[pos]
		if left.id == dead || left.next < 0 {
			continue
		}
		right := &s.symbols[left.next]
		// The pair may have changed since it was queued.
		if now, ok := m.ranks[pair{left.id, right.id}]; !ok || now != rank {
			continue
		}
		left.id, left.next = m.merged[rank], right.next
		right.id = dead
		if left.next >= 0 {
			s.symbols[left.next].prev = pos
			m.consider(s, pos, left.next)
		}
		if left.prev >= 0 {
			m.consider(s, left.prev, pos)
		}
	}
}

// consider queues the pair of the symbols at left and right if it has a merge.
func (m *bpe) consider(s *scratch, left, right int32) {
	if rank, ok := m.ranks[pair{s.symbols[left].id, s.symbols[right].id}]; ok {
		s.queue.push(candidate(rank, left))
	}
}
