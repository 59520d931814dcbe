package api

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/limiter"
	"github.com/weir-io/weir/policy"
)

// appendJSONVerdict appends a verdict in the words of CheckResponse.
func appendJSONVerdict(b []byte, v *limiter.Verdict, version uint64) []byte {
	b = append(b, `{"allowed":`...)
	b = strconv.AppendBool(b, v.Allowed)
	b = append(b, `,"reason":"`...)
	b = append(b, v.Reason.String()...)
	b = append(b, '"')
	var deciding *limiter.LimitStatus
	if v.Deciding >= 0 {
		deciding = &v.Limits[v.Deciding]
		b = appendJSONLimit(b, deciding, v.Wait)
	}
	b = append(b, `,"degraded":`...)
	b = strconv.AppendBool(b, v.Degraded != 0)
	if v.Degraded != 0 {
		b = appendJSONString(append(b, `,"degraded_reason":`...), limiter.DegradedName(v.Degraded))
	}
	b = append(b, `,"policy_version":`...)
	b = strconv.AppendUint(b, version, 10)
	b = append(b, `,"others":[`...)
	first := true
	for i := range v.Limits {
		if i == v.Deciding {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendJSONOther(b, &v.Limits[i])
	}
	b = append(b, ']')
	if deciding != nil && deciding.HasPermit() {
		b = appendJSONPermit(b, deciding)
	}
	return append(b, '}')
}

// appendJSONOther appends a limit beside the deciding one.
func appendJSONOther(b []byte, s *limiter.LimitStatus) []byte {
	b = append(b, `{"allowed":`...)
	b = strconv.AppendBool(b, s.Allowed)
	b = appendJSONLimit(b, s, s.Wait)
	if s.Degraded != 0 {
		b = append(b, `,"degraded":true,"degraded_reason":`...)
		b = appendJSONString(b, limiter.DegradedName(s.Degraded))
	}
	if s.HasPermit() {
		b = appendJSONPermit(b, s)
	}
	return append(append(append(b, `,"mode":"`...), modeName(s.Policy.Mode)...), `"}`...)
}

func modeName(m policy.Mode) string {
	if m == policy.Shadow {
		return "shadow"
	}
	return "enforce"
}

// appendJSONLimit appends the fields that say what a limit has left, from policy to wait.
func appendJSONLimit(b []byte, s *limiter.LimitStatus, wait time.Duration) []byte {
	b = appendJSONString(append(b, `,"policy":`...), s.Policy.Name)
	b = appendJSONString(append(b, `,"limit_name":`...), s.Limit.Name)
	b = appendJSONString(append(b, `,"algorithm":`...), s.Limit.Rule.Limit.Algorithm.String())
	b = strconv.AppendInt(append(b, `,"limit":`...), s.Status.Limit, 10)
	b = strconv.AppendInt(append(b, `,"remaining":`...), s.Remaining, 10)
	b = appendJSONSeconds(append(b, `,"reset":`...), s.Reset)
	b = appendJSONSeconds(append(b, `,"retry_after":`...), s.RetryAfter)
	return appendJSONSeconds(append(b, `,"wait":`...), wait)
}

func appendJSONPermit(b []byte, s *limiter.LimitStatus) []byte {
	b = append(b, `,"permit":"`...)
	b = base64.StdEncoding.AppendEncode(b, s.AppendPermit(nil))
	return append(b, '"')
}

// appendJSONSeconds appends a time in seconds with as many decimals as it has, -1 for
// never.
func appendJSONSeconds(b []byte, d time.Duration) []byte {
	if d == bucket.Never {
		return append(b, "-1"...)
	}
	b = strconv.AppendInt(b, int64(d/time.Second), 10)
	rest := int64(d % time.Second)
	if rest == 0 {
		return b
	}
	b = append(b, '.')
	for unit := int64(time.Second / 10); rest > 0; unit /= 10 {
		b = append(b, '0'+byte(rest/unit))
		rest %= unit
	}
	return b
}

// appendJSONString appends a string in quotes.
func appendJSONString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil { // no string has one
				return append(b, `""`...)
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
