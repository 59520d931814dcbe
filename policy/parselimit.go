package policy

import (
	"fmt"
	"slices"
	"strconv"
	"time"
	// Zones are part of what a document means, so every node must know the same ones: a
	// node without zone files, as in an image from scratch, uses these.
	_ "time/tzdata"

	"github.com/goccy/go-yaml/ast"

	"github.com/weir-io/weir/bucket"
)

const unlimited = "unlimited"

// algorithms are the names of the algorithms by number.
var algorithms = []string{"", bucket.TokenBucket.String(), bucket.LeakyBucket.String(), bucket.FixedWindow.String(),
	bucket.SlidingWindow.String(), bucket.SlidingLog.String(), bucket.Concurrency.String()}

// limitFields are the fields of a limit besides name and algorithm.
var limitFields = [...][]string{
	bucket.TokenBucket:   {"rate", "burst"},
	bucket.LeakyBucket:   {"rate", "burst", "max_wait"},
	bucket.FixedWindow:   {"rate", "zone"},
	bucket.SlidingWindow: {"rate"},
	bucket.SlidingLog:    {"rate"},
	bucket.Concurrency:   {"permits", "ttl"},
}

var allLimitFields = []string{"name", "algorithm", "rate", "burst", "max_wait", "zone", "permits", "ttl"}

// zones finds time zones by name for one document, each once.
type zones map[string]*time.Location

// find returns a zone. It reads the machine's zone files, or the embedded ones where the
// machine has none: data that never changes while a process runs, so parsing stays a
// function of the text.
func (z zones) find(name string) (*time.Location, bool) {
	if loc, ok := z[name]; ok {
		return loc, loc != nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil || name == "Local" { // "Local" differs from node to node
		loc = nil
	}
	z[name] = loc
	return loc, loc != nil
}

// limits reads the limits of a policy.
func (r *reader) limits(p *Policy, f *field) {
	if s, ok := f.value.(*ast.StringNode); ok {
		if p.Unlimited = s.Value == unlimited; !p.Unlimited {
			r.report(s.Token, f.path, "%s: write a list of limits, or the word unlimited", clip(s.Value))
		}
		return
	}
	list, ok := f.value.(*ast.SequenceNode)
	if !ok {
		r.report(tokenOf(f.value), f.path, "want a list of limits, not %s: begin each with a dash", kindOf(f.value))
		return
	}
	if len(list.Values) == 0 {
		r.report(f.key, f.path, "no limit: write at least one, or \"limits: unlimited\", or a rate of 0/s to deny")
	}
	if len(list.Values) > maxLimits {
		r.report(f.key, f.path, "%d limits: a policy has at most %d", len(list.Values), maxLimits)
		return
	}
	for i, v := range list.Values {
		path := fmt.Sprintf("%s[%d]", f.path, i)
		if blank(v) {
			r.report(tokenOf(v), path, "blank: write a limit or remove the dash")
			continue
		}
		l := r.limit(v, path, strconv.Itoa(i+1))
		if slices.ContainsFunc(p.Limits, func(o Limit) bool { return o.Name == l.Name }) {
			r.report(tokenOf(v), path+".name", "repeated: the policy has a limit %q already; names of limits are unique in a policy", l.Name)
		}
		p.Limits = append(p.Limits, l)
	}
}

// limit reads one limit.
func (r *reader) limit(n ast.Node, path, place string) Limit {
	fields := r.known(n, path, "want the fields of a limit, as \"rate: 100/s\"", allLimitFields, nil)
	l := Limit{Name: r.nameOf(fields["name"], place)}
	f := fields["algorithm"]
	if f == nil {
		r.report(tokenOf(n), path+".algorithm", "missing: take one of token_bucket, leaky_bucket, fixed_window, sliding_window, sliding_log, concurrency")
		return l
	}
	l.Numbers.Algorithm = bucket.Algorithm(r.oneOf(f, algorithms, 0))
	if l.Numbers.Algorithm == 0 {
		return l
	}
	allowed := limitFields[l.Numbers.Algorithm]
	for name, f := range fields {
		if name != "name" && name != "algorithm" && !slices.Contains(allowed, name) {
			r.report(f.key, f.path, "%s has no %s: remove it; its fields are %v", l.Numbers.Algorithm, name, allowed)
			delete(fields, name)
		}
	}
	before := len(r.problems)
	main := "rate"
	if l.Numbers.Algorithm == bucket.Concurrency {
		main = "permits"
		r.concurrency(&l.Numbers, fields)
	} else {
		r.rate(&l, fields)
	}
	if fields[main] == nil {
		r.report(tokenOf(n), path+"."+main, "missing: %s needs it", l.Numbers.Algorithm)
		return l
	}
	if len(r.problems) > before || blank(fields[main].value) {
		return l
	}
	if err := l.Numbers.Validate(); err != nil {
		at := fields[main]
		if b := fields["burst"]; b != nil && l.Numbers.Period >= bucket.MinPeriod && l.Numbers.Period <= bucket.MaxPeriod {
			at = b
		}
		r.report(at.value.GetToken(), at.path, "%v", err)
	}
	return l
}

// concurrency reads the numbers of a concurrency limit.
func (r *reader) concurrency(l *bucket.Limit, fields map[string]*field) {
	l.Count = r.integer(fields["permits"], 0, bucket.MaxHeld, 0)
	l.TTL = r.duration(fields["ttl"], time.Minute)
	if f := fields["ttl"]; f != nil && (l.TTL < bucket.MinPeriod || l.TTL > bucket.MaxPeriod) {
		r.report(f.value.GetToken(), f.path, "%v is not in 1ms to 366d", l.TTL)
	}
}

// duration reads a duration; def where the field is absent.
func (r *reader) duration(f *field, def time.Duration) time.Duration {
	if f != nil {
		if n, ok := f.value.(*ast.IntegerNode); ok {
			r.report(n.Token, f.path, "%s is no duration: say of what, as %ss", n.Token.Value, n.Token.Value)
			return def
		}
	}
	s, ok := r.textOf(f)
	if !ok {
		return def
	}
	d, err := ParseDuration(s)
	if err != nil {
		r.report(f.value.GetToken(), f.path, "%v", err)
		return def
	}
	return d
}

// rate reads the numbers of a limit that has a rate.
func (r *reader) rate(l *Limit, fields map[string]*field) {
	f := fields["rate"]
	if f == nil || blank(f.value) {
		return
	}
	if n, ok := f.value.(*ast.IntegerNode); ok {
		r.report(n.Token, f.path, "%s is no rate: say per what time, as %s/s", n.Token.Value, n.Token.Value)
		return
	}
	s, ok := r.textOf(f)
	if !ok {
		return
	}
	rate, err := ParseRate(s)
	if err != nil {
		r.report(f.value.GetToken(), f.path, "%v", err)
		return
	}
	l.Rate = s
	n := &l.Numbers
	n.Count, n.Period = rate.Count, rate.Period
	switch n.Algorithm {
	case bucket.TokenBucket, bucket.LeakyBucket:
		n.Burst = r.integer(fields["burst"], 1, bucket.MaxCount, n.Count)
	case bucket.FixedWindow:
		r.calendar(n, rate, fields["zone"])
	}
	if n.Algorithm == bucket.LeakyBucket {
		n.MaxWait = r.duration(fields["max_wait"], -1)
	}
	if rate.Period == 0 && n.Calendar == 0 && rate.Calendar != 0 {
		r.report(f.value.GetToken(), f.path, "a %s has no fixed length: %s needs one, as 30d; only fixed_window follows the calendar", rate.Calendar, n.Algorithm)
	}
}

// calendar makes a fixed window whose period is a word follow the calendar.
func (r *reader) calendar(n *bucket.Limit, rate Rate, f *field) {
	zone, zoned := r.textOf(f)
	if rate.Calendar == 0 {
		if zoned {
			r.report(f.value.GetToken(), f.path, "a zone needs a calendar's period: minute, hour, day, week, month or year, as 100/day")
		}
		return
	}
	n.Calendar, n.Period, n.Zone = rate.Calendar, 0, time.UTC
	if !zoned {
		return
	}
	loc, ok := r.zones.find(zone)
	if !ok {
		r.report(f.value.GetToken(), f.path, "unknown time zone %s: write an IANA name, as Europe/Berlin", clip(zone))
		return
	}
	n.Zone = loc
}
