package policy

import (
	"cmp"
	"slices"

	"github.com/weir-io/weir/bucket"
)

// maxKeys is how many keys are counted at a time.
const maxKeys = 256

// busiest counts the most frequent keys of a stream in bounded memory: a new key takes
// the counter of the rarest one and its count, so that no frequent key is missed
// (Metwally, Agrawal, El Abbadi: space-saving, 2005). The zero value is ready.
type busiest struct {
	at   map[bucket.Hash]int // place in heap
	heap []keyCount          // the rarest first
}

type keyCount struct {
	hash bucket.Hash
	KeyTally
}

// count counts a key once; name is asked for new keys only.
func (b *busiest) count(key bucket.Hash, denied bool, name func() string) {
	i, ok := b.at[key]
	switch {
	case ok:
	case len(b.heap) < maxKeys:
		if b.at == nil {
			b.at = map[bucket.Hash]int{}
		}
		b.heap = append(b.heap, keyCount{hash: key, KeyTally: KeyTally{Key: name()}})
		i = len(b.heap) - 1
		b.at[key] = i
		i = b.up(i)
	default:
		rarest := &b.heap[0]
		delete(b.at, rarest.hash)
		rarest.hash, rarest.KeyTally = key, KeyTally{Key: name(), Requests: rarest.Requests, Over: rarest.Requests}
		b.at[key], i = 0, 0
	}
	b.heap[i].Requests++
	if denied {
		b.heap[i].Denied++
	}
	b.down(i)
}

func (b *busiest) swap(i, j int) {
	b.heap[i], b.heap[j] = b.heap[j], b.heap[i]
	b.at[b.heap[i].hash], b.at[b.heap[j].hash] = i, j
}

func (b *busiest) up(i int) int {
	for i > 0 && b.heap[i].Requests < b.heap[(i-1)/2].Requests {
		b.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	return i
}

func (b *busiest) down(i int) {
	for {
		least := i
		for j := 2*i + 1; j <= 2*i+2 && j < len(b.heap); j++ {
			if b.heap[j].Requests < b.heap[least].Requests {
				least = j
			}
		}
		if least == i {
			return
		}
		b.swap(i, least)
		i = least
	}
}

// top returns the n busiest keys, the busiest first.
func (b *busiest) top(n int) []KeyTally {
	all := b.tallies(func(KeyTally) bool { return true })
	slices.SortFunc(all, func(x, y KeyTally) int {
		return cmp.Or(cmp.Compare(y.Requests, x.Requests), cmp.Compare(x.Key, y.Key))
	})
	return all[:min(n, len(all))]
}

// mostDenied returns the n keys that were denied most often, the worst first. A key that
// is denied often comes often, so it is among those counted.
func (b *busiest) mostDenied(n int) []KeyTally {
	all := b.tallies(func(k KeyTally) bool { return k.Denied > 0 })
	slices.SortFunc(all, func(x, y KeyTally) int {
		return cmp.Or(cmp.Compare(y.Denied, x.Denied), cmp.Compare(x.Key, y.Key))
	})
	return all[:min(n, len(all))]
}

// tallies returns the keys that are to be kept, nil where there are none.
func (b *busiest) tallies(keep func(KeyTally) bool) (kept []KeyTally) {
	for i := range b.heap {
		if k := b.heap[i].KeyTally; keep(k) {
			kept = append(kept, k)
		}
	}
	return kept
}
