// Package broadcast wakes all that wait for news.
//
// It says only that something is new, never what: who is woken looks for itself. So
// nothing queues up, nobody can be missed, and it is all the same how often or by how
// many it is told.
package broadcast

import "sync"

// A Broadcast wakes all that wait for news. The zero Broadcast is ready. It is safe for
// concurrent use.
type Broadcast struct {
	mu sync.Mutex
	ch chan struct{} // guarded by mu; closed by Send; nil = nobody waits
}

// Next returns a channel that is closed when there are news. Take it first, then read
// what the news may be about, then wait: whatever comes after the reading closes it.
func (b *Broadcast) Next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

// Send wakes all that wait. It does not block.
func (b *Broadcast) Send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
