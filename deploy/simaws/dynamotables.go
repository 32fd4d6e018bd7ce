package simaws

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
)

var tableName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{3,255}$`)

// description is DynamoDB's TableDescription.
func (t *table) description() map[string]any {
	d := map[string]any{
		"TableName": t.Name, "TableArn": t.arn(), "TableStatus": "ACTIVE", "ItemCount": len(t.Items), "TableSizeBytes": 0,
		"TableId": "00000000-0000-4000-8000-000000000000", "CreationDateTime": t.Created.Unix(),
		"KeySchema": t.Definition["KeySchema"], "AttributeDefinitions": t.Definition["AttributeDefinitions"],
		"DeletionProtectionEnabled": false,
		"ProvisionedThroughput":     map[string]any{"NumberOfDecreasesToday": 0, "ReadCapacityUnits": 0, "WriteCapacityUnits": 0},
	}
	if t.Definition["BillingMode"] == "PAY_PER_REQUEST" {
		d["BillingModeSummary"] = map[string]any{"BillingMode": "PAY_PER_REQUEST"}
	} else if pt, ok := t.Definition["ProvisionedThroughput"].(map[string]any); ok {
		d["ProvisionedThroughput"] = map[string]any{"NumberOfDecreasesToday": 0, "ReadCapacityUnits": pt["ReadCapacityUnits"], "WriteCapacityUnits": pt["WriteCapacityUnits"]}
	}
	for _, kind := range []string{"GlobalSecondaryIndexes", "LocalSecondaryIndexes"} {
		list, _ := t.Definition[kind].([]any)
		var out []any
		for _, x := range list {
			ix := map[string]any{"IndexStatus": "ACTIVE"}
			m, _ := x.(map[string]any)
			for k, v := range m {
				ix[k] = v
			}
			out = append(out, ix)
		}
		if out != nil {
			d[kind] = out
		}
	}
	if c, ok := t.Definition["TableClass"]; ok {
		d["TableClassSummary"] = map[string]any{"TableClass": c}
	}
	return d
}

func createTable(s *Sim, c *call, in *dynamoInput, t *table) (any, error) {
	if t != nil {
		return nil, failure(http.StatusBadRequest, "ResourceInUseException", "Table already exists: "+in.TableName)
	}
	if !tableName.MatchString(in.TableName) {
		return nil, validation("TableName must be at least 3 characters long and at most 255 characters long")
	}
	t = &table{Account: c.who.account, Region: c.ep.region, Name: in.TableName, Tags: in.Tags, Created: c.at, Items: map[string]map[string]any{}}
	if err := json.Unmarshal(c.body, &t.Definition); err != nil {
		return nil, err
	}
	delete(t.Definition, "Tags")
	if t.setKeys(); t.hash == "" {
		return nil, validation("1 validation error detected: Value null at 'keySchema' failed to satisfy constraint: Member must not be null")
	}
	s.ddb.all[t.arn()] = t
	c.event.response = map[string]any{"tableDescription": map[string]any{"tableName": t.Name, "tableArn": t.arn(), "tableStatus": "CREATING"}}
	return map[string]any{"TableDescription": t.description()}, s.ddb.save(t)
}

func listTables(s *Sim, c *call, in *dynamoInput, _ *table) (any, error) {
	names := []string{}
	for _, t := range s.ddb.all {
		if t.Account == c.who.account && t.Region == c.ep.region && t.Name > in.ExclusiveStartTableName {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	out := map[string]any{"TableNames": names}
	if in.Limit > 0 && len(names) > in.Limit {
		out["TableNames"], out["LastEvaluatedTableName"] = names[:in.Limit], names[in.Limit-1]
	}
	return out, nil
}

func describeTable(_ *Sim, _ *call, _ *dynamoInput, t *table) (any, error) {
	return map[string]any{"Table": t.description()}, nil
}

// updateTable changes what is only described; indexes and streams it refuses,
// rather than pretend.
func updateTable(s *Sim, c *call, _ *dynamoInput, t *table) (any, error) {
	var change map[string]any
	if err := json.Unmarshal(c.body, &change); err != nil {
		return nil, err
	}
	for k, v := range change {
		switch k {
		case "TableName":
		case "BillingMode", "ProvisionedThroughput", "TableClass", "AttributeDefinitions":
			t.Definition[k] = v
		default:
			return nil, validation("The simulated AWS cannot update " + k)
		}
	}
	return map[string]any{"TableDescription": t.description()}, s.ddb.save(t)
}

func deleteTable(s *Sim, _ *call, _ *dynamoInput, t *table) (any, error) {
	delete(s.ddb.all, t.arn())
	d := t.description()
	d["TableStatus"] = "DELETING"
	return map[string]any{"TableDescription": d}, removeFile(s.ddb.file(t))
}

func describeTTL(_ *Sim, _ *call, _ *dynamoInput, _ *table) (any, error) {
	return map[string]any{"TimeToLiveDescription": map[string]any{"TimeToLiveStatus": "DISABLED"}}, nil
}

func describeBackups(_ *Sim, _ *call, _ *dynamoInput, _ *table) (any, error) {
	return map[string]any{"ContinuousBackupsDescription": map[string]any{
		"ContinuousBackupsStatus":        "ENABLED",
		"PointInTimeRecoveryDescription": map[string]any{"PointInTimeRecoveryStatus": "DISABLED"},
	}}, nil
}

func listTags(_ *Sim, _ *call, _ *dynamoInput, t *table) (any, error) {
	tags := t.Tags
	if tags == nil {
		tags = []any{}
	}
	return map[string]any{"Tags": tags}, nil
}

func tagTable(s *Sim, _ *call, in *dynamoInput, t *table) (any, error) {
	for _, n := range in.Tags {
		t.dropTag(tagKey(n))
		t.Tags = append(t.Tags, n)
	}
	return map[string]any{}, s.ddb.save(t)
}

func untagTable(s *Sim, _ *call, in *dynamoInput, t *table) (any, error) {
	for _, k := range in.TagKeys {
		t.dropTag(k)
	}
	return map[string]any{}, s.ddb.save(t)
}

func (t *table) dropTag(key string) {
	t.Tags = slices.DeleteFunc(t.Tags, func(x any) bool { return tagKey(x) == key })
}

func tagKey(x any) string {
	m, _ := x.(map[string]any)
	k, _ := m["Key"].(string)
	return k
}
