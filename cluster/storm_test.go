package cluster

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/ring"
)

// aStormyTable is one whose rows lie anywhere, which may name another process of a member,
// no address of it, or no owner for a row.
func aStormyTable(r *rand.Rand, epoch uint64, members []*member) *ring.Table {
	shift := r.IntN(3)
	table := tableOf(epoch, members, func(p int) int { return (p + shift) % 3 })
	switch r.IntN(5) {
	case 0:
		table.Members[r.IntN(3)].Boot = 2
	case 1:
		table.Members[r.IntN(3)].PeerAddr = ""
	case 2:
		table.Rows[r.IntN(ring.Partitions)].Owner = ring.None
	}
	return table
}

func aStormyItem(r *rand.Rand) (item []bucket.Charge) {
	for range 1 + r.IntN(5) {
		c := charge(keyAt(r.IntN(ring.Partitions), r.IntN(50)), window([]int64{3, 1e9}[r.IntN(2)], 1, bucket.FailLocal))
		c.Shadow = r.IntN(4) == 0
		item = append(item, c)
	}
	return item
}

// wantWhole reports items whose statuses are not all set, or say otherwise than they.
func wantWhole(t *testing.T, b *Batch) {
	for i := range b.Items {
		it := &b.Items[i]
		for j := it.First; j < it.End && it.Err == nil; j++ {
			s := &b.Statuses[j]
			if s.Limit != b.Charges[j].Rule.Limit.Most() || it.Allowed && !s.Allowed && !b.Charges[j].Shadow {
				t.Errorf("item %+v: charge %+v has %+v", *it, b.Charges[j], *s)
			}
		}
	}
}

// While tables and peers come and go faster than anybody follows, every item has a whole
// answer, and when all is over nothing is kept of it.
func TestStormOfTables(t *testing.T) {
	members := startMembers(t, 3)
	route(t, members, tableOf(1, members, func(p int) int { return p % 3 }))
	end := time.Now().Add(2 * time.Second)
	var wg sync.WaitGroup
	wg.Go(func() {
		r := rand.New(rand.NewPCG(1, 1))
		for epoch := uint64(2); time.Now().Before(end); epoch++ {
			table := aStormyTable(r, epoch, members)
			for _, i := range r.Perm(3) {
				members[i].TableApplied(table)
				decide(members[i], 50*time.Millisecond, false, aStormyItem(r))
			}
		}
	})
	for i := range 12 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(i)))
			for time.Now().Before(end) {
				items := make([][]bucket.Charge, 1+r.IntN(20))
				for j := range items {
					items[j] = aStormyItem(r)
				}
				wantWhole(t, decide(members[i%3], time.Duration(50+r.IntN(300))*time.Millisecond, r.IntN(5) == 0, items...))
			}
		})
	}
	wg.Wait()
	for _, m := range members {
		wantNothingKept(t, m)
	}
}

// wantNothingKept reports room and bytes that are counted and not used.
func wantNothingKept(t *testing.T, m *member) {
	m.mu.Lock()
	peers := m.peers
	m.mu.Unlock()
	for id, p := range peers {
		eventually(t, "the queue of "+m.cfg.Self.ID+" to "+id+" is empty", func() error {
			p.out.poke() // what nobody waits for is dropped when the sender looks
			if !p.out.room.TryAcquire(maxQueued) {
				return fmt.Errorf("%d charges wait, and no room is there", p.out.size())
			}
			p.out.room.Release(maxQueued)
			return nil
		})
	}
	m.inboxes.mu.Lock()
	defer m.inboxes.mu.Unlock()
	for id, b := range m.inboxes.byID {
		b.inbox.mu.Lock()
		kept := 0
		for _, r := range b.inbox.frames {
			for _, part := range r.parts {
				kept += len(part)
			}
		}
		if kept != b.inbox.bytes {
			t.Errorf("%s counts %d bytes of answers to %s and keeps %d", m.cfg.Self.ID, b.inbox.bytes, id, kept)
		}
		b.inbox.mu.Unlock()
	}
}
