package simaws

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Table is a DynamoDB table to start with. Range is optional; key attributes
// are strings.
type Table struct {
	Account, Region, Name string
	Hash, Range           string
	// Items are in DynamoDB's JSON: {"id": {"S": "1"}}.
	Items []map[string]any
}

// table is one DynamoDB table; items are kept by their key's canonical form.
type table struct {
	Account, Region, Name string
	Definition            map[string]any // TableDescription, as CreateTable was told
	Tags                  []any
	Created               time.Time
	Items                 map[string]map[string]any

	hash, rng string
}

type tableStore struct {
	dir   string
	clock func() time.Time
	mu    sync.Mutex
	all   map[string]*table // by ARN
}

func openTableStore(dir string, clock func() time.Time) (*tableStore, error) {
	ts := &tableStore{dir: dir, clock: clock, all: map[string]*table{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		t := &table{}
		if err := json.Unmarshal(raw, t); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		t.setKeys()
		ts.all[t.arn()] = t
	}
	return ts, nil
}

func (t *table) arn() string {
	partition := partitionOf(t.Region, "aws")
	if strings.HasPrefix(t.Region, "cn-") {
		partition = "aws-cn"
	}
	return "arn:" + partition + ":dynamodb:" + t.Region + ":" + t.Account + ":table/" + t.Name
}

// save writes one table; simulated tables are small.
func (ts *tableStore) save(t *table) error {
	raw, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return writeFile(ts.file(t), raw, 0o600)
}

func (ts *tableStore) file(t *table) string {
	return filepath.Join(ts.dir, t.Account+"_"+t.Region+"_"+t.Name+".json")
}

// setKeys finds hash and range key in the definition.
func (t *table) setKeys() {
	list, _ := t.Definition["KeySchema"].([]any)
	for _, k := range list {
		m, _ := k.(map[string]any)
		name, _ := m["AttributeName"].(string)
		switch m["KeyType"] {
		case "HASH":
			t.hash = name
		case "RANGE":
			t.rng = name
		}
	}
}

// PutTable creates a table with its items, or replaces it.
func (s *Sim) PutTable(in Table) error {
	if !accountID.MatchString(in.Account) || !regionLabel.MatchString(in.Region) || !tableName.MatchString(in.Name) || in.Hash == "" {
		return fmt.Errorf("simaws: table %q of account %q in %q: want a name, 12 digits, a region and a hash key", in.Name, in.Account, in.Region)
	}
	attr := func(name, kind string) (map[string]any, map[string]any) {
		return map[string]any{"AttributeName": name, "AttributeType": "S"}, map[string]any{"AttributeName": name, "KeyType": kind}
	}
	a, k := attr(in.Hash, "HASH")
	attrs, keys := []any{a}, []any{k}
	if in.Range != "" {
		a, k = attr(in.Range, "RANGE")
		attrs, keys = append(attrs, a), append(keys, k)
	}
	t := &table{Account: in.Account, Region: in.Region, Name: in.Name, Created: s.now(), Items: map[string]map[string]any{},
		Definition: map[string]any{"KeySchema": keys, "AttributeDefinitions": attrs, "BillingMode": "PAY_PER_REQUEST"}}
	t.setKeys()
	for i, item := range in.Items {
		key, fail := t.keyOf(item)
		if fail != nil {
			return fmt.Errorf("simaws: table %s: item %d: %w", in.Name, i, fail)
		}
		t.Items[key] = item
	}
	s.ddb.mu.Lock()
	defer s.ddb.mu.Unlock()
	s.ddb.all[t.arn()] = t
	return s.ddb.save(t)
}

// keyOf is the canonical form of an item's primary key.
func (t *table) keyOf(item map[string]any) (string, error) {
	var parts []any
	for _, name := range []string{t.hash, t.rng} {
		if name == "" {
			continue
		}
		v, ok := item[name].(map[string]any)
		if !ok || len(v) != 1 {
			return "", validation("One or more parameter values were invalid: Missing the key " + name + " in the item")
		}
		parts = append(parts, v)
	}
	raw, err := json.Marshal(parts)
	return string(raw), err
}

func validation(msg string) *apiError {
	return failure(http.StatusBadRequest, "ValidationException", msg)
}

// dynamoInput is the union of what the simulated operations take.
type dynamoInput struct {
	TableName                 string
	Item, Key                 map[string]any
	KeyConditionExpression    string
	FilterExpression          string
	ConditionExpression       string
	ProjectionExpression      string
	IndexName                 string
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues map[string]any
	ExclusiveStartKey         map[string]any
	ReturnValues              string
	ScanIndexForward          *bool
	Limit                     int
	ResourceArn               string
	Tags                      []any
	TagKeys                   []string
	ExclusiveStartTableName   string
}

type dynamoOp struct {
	data bool // a data event
	do   func(*Sim, *call, *dynamoInput, *table) (any, error)
	// bare operations need no table of that name to exist.
	bare bool
}

func (s *Sim) dynamoOps() map[string]dynamoOp {
	return map[string]dynamoOp{
		"CreateTable":               {bare: true, do: createTable},
		"ListTables":                {bare: true, do: listTables},
		"DescribeTable":             {do: describeTable},
		"DeleteTable":               {do: deleteTable},
		"UpdateTable":               {do: updateTable},
		"DescribeTimeToLive":        {do: describeTTL},
		"DescribeContinuousBackups": {do: describeBackups},
		"ListTagsOfResource":        {do: listTags},
		"TagResource":               {do: tagTable},
		"UntagResource":             {do: untagTable},
		"PutItem":                   {data: true, do: putItem},
		"GetItem":                   {data: true, do: getItem},
		"DeleteItem":                {data: true, do: deleteItem},
		"Query":                     {data: true, do: queryItems},
		"Scan":                      {data: true, do: scanItems},
	}
}

// serveDynamoDB: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/
func (s *Sim) serveDynamoDB(c *call) error {
	name, ok := strings.CutPrefix(c.r.Header.Get("X-Amz-Target"), "DynamoDB_20120810.")
	op, known := s.dynamoOps()[name]
	if !ok || !known {
		return s.serveUnknown(c)
	}
	c.event.source = "dynamodb.amazonaws.com"
	c.event.nameIt(name)
	c.event.data = op.data
	in := &dynamoInput{}
	if err := json.Unmarshal(c.body, in); err != nil {
		return failure(http.StatusBadRequest, "SerializationException", "the request body is not what "+name+" takes")
	}
	if _, _, _, _, res, ok := splitARN(in.ResourceArn); ok {
		in.TableName = strings.TrimPrefix(res, "table/")
	} else if _, _, _, _, res, ok := splitARN(in.TableName); ok { // a table can be named by ARN
		in.TableName = strings.TrimPrefix(res, "table/")
	}
	arn := (&table{Account: c.who.account, Region: c.ep.region, Name: in.TableName}).arn()
	if in.TableName == "" {
		arn = "*"
	} else {
		c.event.resources = []resource{{AccountID: c.who.account, Type: "AWS::DynamoDB::Table", ARN: arn}}
	}
	c.event.request, c.event.dataARN = dynamoParameters(in), arn
	if err := c.authorize("dynamodb:"+name, arn); err != nil {
		return err
	}
	s.ddb.mu.Lock()
	defer s.ddb.mu.Unlock()
	t := s.ddb.all[arn]
	if t == nil && !op.bare {
		return failure(http.StatusBadRequest, "ResourceNotFoundException", "Requested resource not found")
	}
	out, err := op.do(s, c, in, t)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return err
	}
	c.answer(http.StatusOK, "application/x-amz-json-1.0", raw)
	return nil
}

// dynamoParameters are what CloudTrail shows: names and keys, never values.
func dynamoParameters(in *dynamoInput) map[string]any {
	p := map[string]any{}
	if in.TableName != "" {
		p["tableName"] = in.TableName
	}
	key := in.Key
	if key == nil && in.Item != nil {
		p["items"] = sortedKeys(in.Item)
	}
	if key != nil {
		plain := map[string]any{}
		for k, v := range key {
			if m, ok := v.(map[string]any); ok {
				for _, x := range m {
					plain[k] = x
				}
			}
		}
		p["key"] = plain
	}
	if in.KeyConditionExpression != "" {
		p["keyConditionExpression"] = in.KeyConditionExpression
	}
	return p
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func removeFile(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
