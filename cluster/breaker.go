package cluster

import (
	"sync"
	"time"
)

// When a breaker opens, and how it finds out that it may close.
const (
	breakerRow    = 5 // items in a row without an answer
	breakerLeast  = 20
	breakerWindow = time.Second // in which half of at least breakerLeast items had no answer
	retryEvery    = 250 * time.Millisecond
)

// A breaker keeps items from a peer that does not answer them: closed it lets all pass,
// open one every retryEvery. The first answer closes it.
type breaker struct {
	mu       sync.Mutex
	open     bool      // guarded by mu, like all below
	probe    time.Time // while open: when the next item may try
	row      int       // items without an answer since the last answer
	began    time.Time // of the window
	answered int       // in the window
	missed   int       // in the window
}

// pass reports whether an item may be sent at now. While the breaker is open that is a
// try, and the next comes retryEvery later.
func (b *breaker) pass(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.passesLocked(now) {
		return false
	}
	if b.open {
		b.probe = now.Add(retryEvery)
	}
	return true
}

// mayPass reports whether pass would.
func (b *breaker) mayPass(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.passesLocked(now)
}

func (b *breaker) passesLocked(now time.Time) bool { return !b.open || !now.Before(b.probe) }

// note counts what became of items: how many were answered, or were waited for in vain.
func (b *breaker) note(now time.Time, answered, missed int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.began) >= breakerWindow {
		b.began, b.answered, b.missed = now, 0, 0
	}
	b.answered += answered
	b.missed += missed
	if answered > 0 {
		b.row, b.open = 0, false
	}
	b.row += missed
	all := b.answered + b.missed
	if missed > 0 && (b.row >= breakerRow || all >= breakerLeast && 2*b.missed >= all) && !b.open {
		b.open, b.probe = true, now.Add(retryEvery)
	}
}

// isOpen reports whether the breaker is open.
func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}
