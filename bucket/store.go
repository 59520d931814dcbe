package bucket

import "sync/atomic"

// Config sizes a Store.
type Config struct {
	// Memory bounds the bytes of all buckets, logs and permits together. One percent of
	// it is the reserve that new keys share when the rest is full. Too low, and new keys
	// are decided by their fail mode; what is not needed is not taken.
	Memory int64
	// Seed keys the hash that permits are named by. Who knows it can guess them; two
	// stores of one seed name theirs alike.
	Seed uint64
}

// A Store keeps buckets in 1024 partitions. It is safe for concurrent use.
type Store struct {
	partitions [Partitions]partition

	// reserve holds one bucket a limit for the keys that found no room. Its lock is taken
	// after those of partitions.
	reserve partition

	budget, reserveBudget budget
	rules                 *rules
	permits               atomic.Uint64 // counts what permit has named
	seed                  uint64
}

// NewStore returns an empty store.
func NewStore(cfg Config) *Store {
	s := &Store{rules: newRules(), seed: cfg.Seed}
	s.reserveBudget.most = cfg.Memory / 100
	s.budget.most = cfg.Memory - s.reserveBudget.most
	for i := range s.partitions {
		s.partitions[i].rules, s.partitions[i].budget = s.rules, &s.budget
	}
	s.reserve.rules, s.reserve.budget = s.rules, &s.reserveBudget
	return s
}

// Intern returns the rule that the store uses for one equal to rule, or rule itself. Who
// makes rules over and over, from messages, keeps them few by it.
func (s *Store) Intern(rule *Rule) *Rule {
	if known := s.rules.find(rule.key()); known != nil {
		return known
	}
	return rule
}

// Clear empties a partition, as where its row goes to another node. What its keys took
// of the reserve stays taken.
func (s *Store) Clear(partition int) {
	p := &s.partitions[partition]
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

// Usage is how much a Store holds.
type Usage struct {
	Buckets int64 // slots in use, but for those of the reserve
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

func (s *Store) of(c *Charge) *partition { return &s.partitions[c.Hash.Partition()] }

// clamp returns the time that now counts as.
func clamp(now int64) int64 { return min(max(now, 0), latest) }
