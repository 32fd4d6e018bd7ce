package simaws

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// operator is one condition operator of IAM, taken apart:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
type operator struct {
	match    func(want, have string) bool
	negated  bool
	ifExists bool
	forAll   bool
	null     bool
}

func conditionOperator(name string) (operator, bool) {
	var op operator
	if rest, ok := strings.CutPrefix(name, "ForAllValues:"); ok {
		name, op.forAll = rest, true
	} else if rest, ok := strings.CutPrefix(name, "ForAnyValue:"); ok {
		name = rest
	}
	if rest, ok := strings.CutSuffix(name, "IfExists"); ok {
		name, op.ifExists = rest, true
	}
	if name == "Null" {
		op.null = true
		return op, true
	}
	base := strings.Replace(name, "Not", "", 1)
	op.negated = base != name
	switch base {
	case "StringEquals":
		op.match = func(want, have string) bool { return want == have }
	case "StringEqualsIgnoreCase", "Bool":
		op.match = strings.EqualFold
	case "StringLike", "ArnLike", "ArnEquals":
		op.match = wildcard
	case "NumericEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals":
		op.match = ordered(strings.TrimPrefix(base, "Numeric"), func(s string) (float64, bool) {
			f, err := strconv.ParseFloat(s, 64)
			return f, err == nil
		})
	case "DateEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals":
		op.match = ordered(strings.TrimPrefix(base, "Date"), func(s string) (float64, bool) {
			t, err := time.Parse(time.RFC3339, s)
			return float64(t.Unix()), err == nil
		})
	case "IpAddress":
		op.match = func(want, have string) bool {
			ip, err := netip.ParseAddr(have)
			if err != nil {
				return false
			}
			if p, err := netip.ParsePrefix(want); err == nil {
				return p.Contains(ip)
			}
			one, err := netip.ParseAddr(want)
			return err == nil && one == ip
		}
	default:
		return operator{}, false
	}
	return op, true
}

func ordered(kind string, parse func(string) (float64, bool)) func(want, have string) bool {
	return func(want, have string) bool {
		w, ok1 := parse(want)
		h, ok2 := parse(have)
		if !ok1 || !ok2 {
			return false
		}
		switch kind {
		case "Equals":
			return h == w
		case "LessThan":
			return h < w
		case "LessThanEquals":
			return h <= w
		case "GreaterThan":
			return h > w
		}
		return h >= w
	}
}

// conditionsHold: every operator and every key in it must hold.
func conditionsHold(conds map[string]map[string]oneOrMany[scalar], keys map[string][]string) bool {
	for name, byKey := range conds {
		op, ok := conditionOperator(name)
		if !ok {
			return false
		}
		for key, wants := range byKey {
			if !op.holds(wants, keys[strings.ToLower(key)], keys) {
				return false
			}
		}
	}
	return true
}

func (op operator) holds(wants []scalar, have []string, keys map[string][]string) bool {
	if op.null {
		return len(wants) > 0 && strings.EqualFold(string(wants[0]), strconv.FormatBool(len(have) == 0))
	}
	if len(have) == 0 {
		// A negated operator holds for a key that is absent, as in AWS.
		return op.ifExists || op.forAll || op.negated
	}
	hit := func(h string) bool {
		for _, w := range wants {
			if op.match(expand([]string{string(w)}, keys)[0], h) {
				return true
			}
		}
		return false
	}
	for _, h := range have {
		got := hit(h) != op.negated
		if op.forAll && !got || op.negated && !op.forAll && !got {
			return false
		}
		if !op.forAll && !op.negated && got {
			return true
		}
	}
	return op.forAll || op.negated
}
