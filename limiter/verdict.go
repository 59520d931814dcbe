package limiter

import (
	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/cluster"
)

// compose turns what the buckets said to one request's charges into its verdict.
// item is what the cluster said of them.
func (v *Verdict) compose(item *cluster.Item) {
	if item.Err != nil {
		v.Err, v.Limits = undecided(item.Err), nil
		return
	}
	enforced := false
	for i := range v.Limits {
		s := &v.Limits[i]
		if !item.Allowed || item.Peek {
			s.Receipt = 0 // nothing was taken that could be given back
		}
		if s.Shadow {
			continue
		}
		enforced = true
		if v.Deciding < 0 || s.outranks(&v.Limits[v.Deciding], item.Allowed) {
			v.Deciding = i
		}
		if item.Allowed {
			v.Wait = max(v.Wait, s.Wait)
		}
		if v.Degraded == 0 {
			v.Degraded = s.Degraded
		}
	}
	if !enforced {
		return // shadows are reported, the reason stays what it was: no_policy or exempt
	}
	v.Allowed, v.Reason = item.Allowed, OK
	deciding := &v.Limits[v.Deciding]
	if deciding.Degraded != 0 {
		v.Degraded = deciding.Degraded
	}
	if !item.Allowed {
		v.Reason = Limited
		if deciding.unavailable() {
			v.Reason = Unavailable
		}
	}
}

// outranks reports whether s decides rather than before, an earlier limit. Denied: the
// refusing one with the longest retry_after decides, never being the longest;
// allowed: the one with the least remaining. Equals keep document order.
func (s *LimitStatus) outranks(before *LimitStatus, allowed bool) bool {
	if allowed {
		return s.Remaining < before.Remaining
	}
	if s.Allowed != before.Allowed {
		return before.Allowed
	}
	if s.Allowed || before.RetryAfter == bucket.Never {
		return false
	}
	return s.RetryAfter == bucket.Never || s.RetryAfter > before.RetryAfter
}

// unavailable reports whether a refusal is no count's but its fail_mode's.
func (s *LimitStatus) unavailable() bool {
	return s.Degraded == bucket.Closed || s.Degraded == bucket.Memory && s.Limit.Rule.FailMode == bucket.FailClosed
}
