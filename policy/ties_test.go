package policy_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/weir-io/weir/policy"
)

// Many policies are parted before they are compared, few are compared in pairs: both ways
// must find a tie or none.
func TestTiesOfManyAreThoseOfPairs(t *testing.T) {
	texts := rapid.SampledFrom([]string{
		"10.0.0.1", "10.0.0.2", "::ffff:10.0.0.1", "2001:db8::1", "2001:DB8::1", "10.0.0.0/24", "10.0.0.0/8", "2001:db8::/32", "::/0",
		"10.0.*", "10.*", "*.0.1", "**.1", "2001:*", "f*", "f2", "g*2", "*3", "**",
	})
	tied := func(policies []string) bool {
		_, _, err := policy.Compile(nil, parseAll(t, doc("shop", policies...)), 1, secret)
		return err != nil
	}
	rapid.Check(t, func(t *rapid.T) {
		var policies []string
		for i := range rapid.IntRange(2, 4).Draw(t, "policies") {
			list := rapid.SliceOfNDistinct(texts, 1, 3, rapid.ID).Draw(t, "list")
			text := ""
			for _, s := range list {
				text += fmt.Sprintf("%q, ", s)
			}
			policies = append(policies, fmt.Sprintf("name: p%d, group: g, match: {host: [%s own%d]}", i, text, i))
		}
		want := false
		for i := range 26 {
			policies = append(policies, fmt.Sprintf("name: f%d, group: g, match: {host: [f%d, g%d]}", i, i, i))
		}
		for i := range policies {
			for j := range min(i, 4) { // the others are far apart from each other
				want = want || tied([]string{policies[i], policies[j]})
			}
		}
		if got := tied(policies); got != want {
			t.Fatalf("ties %v, in pairs %v: %q", got, want, policies[:len(policies)-26])
		}
	})
}
