package limiter

import (
	"context"
	"sync"
	"time"
)

// A lazyDeadline is a context with a deadline that costs nothing until somebody asks for
// it. Most checks are decided without waiting for anything, and a timer for each
// would cost more than the decision. Whoever is handed one must not use it after the
// call it was handed to has returned.
type lazyDeadline struct {
	context.Context // the caller's, which has no deadline
	within          time.Duration

	mu   sync.Mutex
	end  time.Time          // guarded by mu: zero until asked for
	real context.Context    // guarded by mu: nil until somebody waits
	stop context.CancelFunc // guarded by mu: set with real
}

var _ context.Context = (*lazyDeadline)(nil)

// Deadline returns within after it was first asked for.
func (l *lazyDeadline) Deadline() (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.endLocked(), true
}

func (l *lazyDeadline) endLocked() time.Time {
	if l.end.IsZero() {
		l.end = time.Now().Add(l.within) // what contexts measure deadlines by
	}
	return l.end
}

// Done starts the timer.
func (l *lazyDeadline) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.real == nil {
		l.real, l.stop = context.WithDeadline(l.Context, l.endLocked())
	}
	return l.real.Done()
}

// Err tells whether the deadline is over, timer or not.
func (l *lazyDeadline) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.real != nil:
		return l.real.Err()
	case !l.end.IsZero() && !time.Now().Before(l.end):
		return context.DeadlineExceeded
	}
	return l.Context.Err()
}

// bound returns ctx with a deadline: its own, or one that ends within from now.
func (b *Batch) bound(ctx context.Context, within time.Duration) context.Context {
	if _, ok := ctx.Deadline(); ok || within <= 0 {
		return ctx
	}
	if b.lazy == nil {
		b.lazy = &lazyDeadline{}
	}
	b.lazy.Context, b.lazy.within, b.lazy.end = ctx, within, time.Time{}
	return b.lazy
}

// unbound ends what bound began.
func (b *Batch) unbound() {
	l := b.lazy
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop != nil {
		l.stop()
		b.lazy = nil // whoever waited may look at it once more
		return
	}
	l.Context = nil
}
