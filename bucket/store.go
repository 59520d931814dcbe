package bucket

import "sync/atomic"

// Config sizes a Store.
type Config struct {
	// Memory bounds the bytes of all buckets, logs and permits together. One percent of
	// it is the reserve that new keys share when the rest is full.
	Memory int64
	// Seed makes receipts of this store differ from another's.
	Seed uint64
}

// A Store keeps buckets in 1024 partitions. It is safe for concurrent use.
type Store struct {
	partitions [Partitions]partition
	budget     budget
	rules      *rules
	receipts   atomic.Uint64 // counts permits, scrambled into their receipts
	seed       uint64

	// reserve holds one bucket a limit for the keys that found no room. Its lock is taken
	// after those of partitions.
	reserve       partition
	reserveBudget budget
}

// NewStore returns an empty store.
func NewStore(cfg Config) *Store {
	s := &Store{rules: newRules(), seed: cfg.Seed}
	s.reserveBudget.most = cfg.Memory / 100
	s.budget.most = cfg.Memory - s.reserveBudget.most
	return s
}

// Intern returns the rule that the store uses for one equal to rule, or rule itself. Who
// makes rules over and over, from messages, keeps them few by it.
func (s *Store) Intern(rule *Rule) *Rule {
	if known := s.rules.find(rule); known != nil {
		return known
	}
	return rule
}

// Clear empties a partition.
func (s *Store) Clear(partition int) {
	p := &s.partitions[partition]
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.slots {
		if n := p.slots[i].rule; n != 0 {
			s.rules.release(n)
		}
	}
	s.budget.used.Add(-p.bytes())
	p.slots, p.live, p.hand, p.arena = nil, 0, 0, arena{}
}

// Usage is how much a Store holds.
type Usage struct {
	Buckets int64 // slots in use
	Bytes   int64 // of slots, logs and permits, used or not
	Rules   int64 // distinct rules in use
}

// Usage returns how much the store holds now.
func (s *Store) Usage() Usage {
	u := Usage{Bytes: s.budget.used.Load() + s.reserveBudget.used.Load(), Rules: s.rules.count()}
	for i := range s.partitions {
		p := &s.partitions[i]
		p.mu.Lock()
		u.Buckets += int64(p.live)
		p.mu.Unlock()
	}
	return u
}

// receipt returns 50 bits that no other take of this store has, and that another store
// is unlikely to have: a count through a bijection (the finaliser of SplitMix64, cut to
// 50 bits), keyed by the seed.
func (s *Store) receipt() uint64 {
	const mask = 1<<50 - 1
	x := (s.receipts.Add(1) + s.seed) & mask
	x = (x ^ x>>25) * 0xbf58476d1ce4e5b9 & mask
	x = (x ^ x>>23) * 0x94d049bb133111eb & mask
	return x ^ x>>26
}
