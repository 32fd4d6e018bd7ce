package simaws

import (
	"cmp"
	"encoding/json"
	"math/big"
	"net/http"
	"slices"
	"strings"
)

func putItem(s *Sim, _ *call, in *dynamoInput, t *table) (any, error) {
	key, err := t.keyOf(in.Item)
	if err != nil {
		return nil, err
	}
	old := t.Items[key]
	if err := checkCondition(in, old); err != nil {
		return nil, err
	}
	t.Items[key] = in.Item
	return returned(in, old), s.ddb.save(t)
}

func getItem(_ *Sim, _ *call, in *dynamoInput, t *table) (any, error) {
	key, err := t.keyOf(in.Key)
	if err != nil {
		return nil, err
	}
	item := t.Items[key]
	if item == nil {
		return map[string]any{}, nil
	}
	return map[string]any{"Item": project(in, item)}, nil
}

func deleteItem(s *Sim, _ *call, in *dynamoInput, t *table) (any, error) {
	key, err := t.keyOf(in.Key)
	if err != nil {
		return nil, err
	}
	old := t.Items[key]
	if err := checkCondition(in, old); err != nil {
		return nil, err
	}
	delete(t.Items, key)
	return returned(in, old), s.ddb.save(t)
}

func returned(in *dynamoInput, old map[string]any) map[string]any {
	if in.ReturnValues == "ALL_OLD" && old != nil {
		return map[string]any{"Attributes": old}
	}
	return map[string]any{}
}

// checkCondition knows attribute_exists and attribute_not_exists joined by
// AND or OR, which is what locks and "create only" need.
func checkCondition(in *dynamoInput, old map[string]any) error {
	if in.ConditionExpression == "" {
		return nil
	}
	failed := failure(http.StatusBadRequest, "ConditionalCheckFailedException", "The conditional request failed")
	for alt := range strings.SplitSeq(in.ConditionExpression, " OR ") {
		all := true
		for term := range strings.SplitSeq(alt, " AND ") {
			f, arg, ok := strings.Cut(strings.Trim(term, " "), "(")
			f = strings.TrimSpace(f)
			if !ok || !strings.HasSuffix(arg, ")") || f != "attribute_exists" && f != "attribute_not_exists" {
				return validation("The simulated AWS knows attribute_exists and attribute_not_exists in a ConditionExpression only")
			}
			_, has := old[in.attribute(strings.TrimSuffix(arg, ")"))]
			all = all && has == (f == "attribute_exists")
		}
		if all {
			return nil
		}
	}
	return failed
}

// attribute resolves #name.
func (in *dynamoInput) attribute(s string) string {
	s = strings.TrimSpace(s)
	if n, ok := in.ExpressionAttributeNames[s]; ok {
		return n
	}
	return s
}

func project(in *dynamoInput, item map[string]any) map[string]any {
	if in.ProjectionExpression == "" {
		return item
	}
	out := map[string]any{}
	for name := range strings.SplitSeq(in.ProjectionExpression, ",") {
		if v, ok := item[in.attribute(name)]; ok {
			out[in.attribute(name)] = v
		}
	}
	return out
}

func scanItems(_ *Sim, _ *call, in *dynamoInput, t *table) (any, error) {
	return page(in, t, func(map[string]any) bool { return true })
}

func queryItems(_ *Sim, _ *call, in *dynamoInput, t *table) (any, error) {
	if in.IndexName != "" {
		return nil, validation("The simulated AWS has no index " + in.IndexName + " to query")
	}
	conds, err := in.keyConditions(t)
	if err != nil {
		return nil, err
	}
	return page(in, t, func(item map[string]any) bool {
		for _, k := range conds {
			if !k.holds(item) {
				return false
			}
		}
		return true
	})
}

// page sorts by range key (hash and range for a scan), starts after
// ExclusiveStartKey and stops at Limit.
func page(in *dynamoInput, t *table, match func(map[string]any) bool) (any, error) {
	if in.FilterExpression != "" {
		return nil, validation("The simulated AWS does not know FilterExpression")
	}
	var found []map[string]any
	for _, item := range t.Items {
		if match(item) {
			found = append(found, item)
		}
	}
	order := func(a, b map[string]any) int {
		return cmp.Or(compareAttr(a[t.hash], b[t.hash]), compareAttr(a[t.rng], b[t.rng]))
	}
	slices.SortFunc(found, order)
	if in.ScanIndexForward != nil && !*in.ScanIndexForward {
		slices.Reverse(found)
	}
	if in.ExclusiveStartKey != nil {
		start, err := t.keyOf(in.ExclusiveStartKey)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(found, func(m map[string]any) bool { k, _ := t.keyOf(m); return k == start })
		found = found[i+1:]
	}
	out := map[string]any{}
	if in.Limit > 0 && len(found) > in.Limit {
		found = found[:in.Limit]
		last := map[string]any{t.hash: found[in.Limit-1][t.hash]}
		if t.rng != "" {
			last[t.rng] = found[in.Limit-1][t.rng]
		}
		out["LastEvaluatedKey"] = last
	}
	items := make([]map[string]any, len(found))
	for i, it := range found {
		items[i] = project(in, it)
	}
	out["Items"], out["Count"], out["ScannedCount"] = items, len(items), len(items)
	return out, nil
}

// keyCondition is one term of a KeyConditionExpression.
type keyCondition struct {
	attr, op string
	values   []any
}

// keyConditions reads "h = :h [AND r op :r]", with begins_with and BETWEEN:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.KeyConditionExpressions.html
func (in *dynamoInput) keyConditions(t *table) ([]keyCondition, error) {
	bad := func(why string) ([]keyCondition, error) {
		return nil, validation("Invalid KeyConditionExpression: " + why)
	}
	r := strings.NewReplacer("(", " ", ")", " ", ",", " ", "<=", " <= ", ">=", " >= ", "=", " = ", "<", " < ", ">", " > ")
	tok := strings.Fields(r.Replace(in.KeyConditionExpression))
	// The replacer takes the longest operator first, so <= stays whole.
	var out []keyCondition
	value := func(s string) (any, bool) { v, ok := in.ExpressionAttributeValues[s]; return v, ok }
	for len(tok) > 0 {
		if len(out) > 0 {
			if !strings.EqualFold(tok[0], "AND") {
				return bad("expected AND")
			}
			tok = tok[1:]
		}
		if len(tok) < 3 {
			return bad("incomplete")
		}
		k := keyCondition{attr: in.attribute(tok[0]), op: strings.ToLower(tok[1])}
		names := tok[2:3]
		n := 3
		switch k.op {
		case "=", "<", "<=", ">", ">=":
		case "between":
			if len(tok) < 5 || !strings.EqualFold(tok[3], "AND") {
				return bad("BETWEEN needs two values")
			}
			names, n = []string{tok[2], tok[4]}, 5
		default:
			if !strings.EqualFold(tok[0], "begins_with") {
				return bad("operator " + tok[1])
			}
			k.attr, k.op = in.attribute(tok[1]), "begins_with"
		}
		for _, name := range names {
			v, ok := value(name)
			if !ok {
				return bad("An expression attribute value used in expression is not defined; attribute value: " + name)
			}
			k.values = append(k.values, v)
		}
		tok, out = tok[n:], append(out, k)
	}
	hashes := 0
	for _, k := range out {
		if k.attr == t.hash && k.op == "=" {
			hashes++
		} else if k.attr != t.rng || t.rng == "" {
			return nil, validation("Query condition missed key schema element: " + t.hash)
		}
	}
	if hashes != 1 || len(out) > 2 {
		return nil, validation("Query condition missed key schema element: " + t.hash)
	}
	return out, nil
}

func (k keyCondition) holds(item map[string]any) bool {
	have := item[k.attr]
	if k.op == "begins_with" {
		_, h := scalarOf(have)
		_, p := scalarOf(k.values[0])
		return strings.HasPrefix(h, p)
	}
	d := compareAttr(have, k.values[0])
	switch k.op {
	case "=":
		return d == 0
	case "<":
		return d < 0
	case "<=":
		return d <= 0
	case ">":
		return d > 0
	case ">=":
		return d >= 0
	}
	return d >= 0 && compareAttr(have, k.values[1]) <= 0
}

// scalarOf takes {"S": "x"} apart.
func scalarOf(v any) (kind, value string) {
	m, _ := v.(map[string]any)
	for k, x := range m {
		s, ok := x.(string)
		if !ok {
			raw, _ := json.Marshal(x)
			s = string(raw)
		}
		return k, s
	}
	return "", ""
}

func compareAttr(a, b any) int {
	ka, va := scalarOf(a)
	kb, vb := scalarOf(b)
	if ka != kb {
		return strings.Compare(ka, kb)
	}
	if ka == "N" {
		x, ok1 := new(big.Rat).SetString(va)
		y, ok2 := new(big.Rat).SetString(vb)
		if ok1 && ok2 {
			return x.Cmp(y)
		}
	}
	return strings.Compare(va, vb)
}
