package tokenizer

import (
	"strings"
	"sync"
)

// Bounds of the word cache: at most about 10 MB.
const (
	cacheWords   = 1 << 15
	cacheWordLen = 64 // bytes
)

// wordCache remembers the ids of short words; text repeats them. It is safe for
// concurrent use and is emptied when full.
type wordCache struct {
	mu    sync.RWMutex
	words map[string][]int32
}

func newWordCache() *wordCache { return &wordCache{words: map[string][]int32{}} }

// get returns the ids of a word; the caller must not change them.
func (c *wordCache) get(text string) ([]int32, bool) {
	if len(text) > cacheWordLen {
		return nil, false
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	ids, ok := c.words[text]
	return ids, ok
}

// put copies both arguments, so that no entry keeps a whole text alive.
func (c *wordCache) put(text string, ids []int32) {
	if len(text) > cacheWordLen {
		return
	}
	text, ids = strings.Clone(text), append([]int32(nil), ids...)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.words) >= cacheWords {
		clear(c.words)
	}
	c.words[text] = ids
}
