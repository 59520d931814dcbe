package broadcast_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weir-io/weir/broadcast"
)

// Whoever takes the channel before it looks misses nothing, however the two meet.
func TestNothingIsMissed(t *testing.T) {
	const last = 10_000
	var b broadcast.Broadcast
	var n atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				news := b.Next()
				if n.Load() == last {
					return
				}
				<-news
			}
		})
	}
	for range last {
		n.Add(1)
		b.Send()
	}
	wg.Wait()
}

func TestNewsAreOfOneKind(t *testing.T) {
	var b broadcast.Broadcast
	b.Send() // nobody waits
	first, second := b.Next(), b.Next()
	select {
	case <-first:
		t.Error("old news wake who comes later")
	default:
	}
	b.Send()
	<-first
	<-second
	select {
	case <-b.Next():
		t.Error("the next news are there already")
	default:
	}
}
