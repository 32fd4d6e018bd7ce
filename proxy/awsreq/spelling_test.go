package awsreq

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSpelling: one thing has many spellings, and a request that names it in an odd
// one is about that thing, or about what is not known.
func TestSpelling(t *testing.T) {
	tab := newTable(t)
	of := func(service string) string { return "arn:aws:" + service + ":us-east-1:" + account + ":" }
	form := func(service, body string) *Input {
		return request(t, tab, "POST https://"+service+".us-east-1.amazonaws.com/", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, body)
	}
	target := func(service, target, body string) *Input {
		return request(t, tab, "POST https://"+service+".us-east-1.amazonaws.com/", http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {target}}, body)
	}
	get := func(line string) *Input { return request(t, tab, line, nil, "") }
	invoke := func(host string, api ...string) *Input {
		return request(t, tab, "GET https://"+host+".amazonaws.com/prod/secret", http.Header{"X-Apigw-Api-Id": api}, "")
	}
	put := func(path, body string) *Input {
		return request(t, tab, "PATCH https://amplifyuibuilder.us-east-1.amazonaws.com"+path, http.Header{"Content-Type": {"application/json"}}, body)
	}
	iam := func(body string) *Input {
		return request(t, tab, "POST https://iam.amazonaws.com/", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, body)
	}
	cut := func(in *Input) *Input {
		in.BodyComplete = false
		return in
	}
	sqs := func(path, query, body string) *Input {
		return request(t, tab, "POST https://sqs.us-east-1.amazonaws.com"+path+query, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, body)
	}
	del := func(body string) *Input {
		return request(t, tab, "POST https://b.s3.us-east-1.amazonaws.com/?delete", nil, "<Delete>"+body+"</Delete>")
	}
	copyFrom := func(source string) *Input {
		return request(t, tab, "PUT https://b.s3.us-east-1.amazonaws.com/k", http.Header{"X-Amz-Copy-Source": {source}}, "")
	}
	transact := func(body string) *Input { return target("dynamodb", "DynamoDB_20120810.TransactGetItems", body) }
	for name, c := range map[string]struct {
		in   *Input
		want string // separated by spaces; "!" is ambiguous
	}{
		// Members are called exactly so, and once.
		"case":     {transact(`{"TransactItems":[{"Get":{"TableName":"no-t","tablename":"ok-t","Key":{}}}]}`), "!"},
		"case2":    {transact(`{"TransactItems":[{"Get":{"tablename":"ok-t","TableName":"no-t","Key":{}}}]}`), "!"},
		"case3":    {transact(`{"TransactItems":[{"Get":{"tablename":"ok-t","Key":{}}}]}`), "!"},
		"twice":    {transact(`{"TransactItems":[{"Get":{"TableName":"no-t","TableName":"ok-t","Key":{}}}]}`), "!"},
		"two gets": {transact(`{"TransactItems":[{"Get":{"TableName":"no-t"},"Get":{"TableName":"ok-t"}}]}`), "!"},
		"get get":  {transact(`{"TransactItems":[{"Get":{"TableName":"no-t"},"get":{"TableName":"ok-t"}}]}`), "!"},
		"lists":    {transact(`{"TransactItems":[{"Get":{"TableName":"no-t"}}],"transactItems":[{"Get":{"TableName":"ok-t"}}]}`), "!"},
		"no list":  {transact(`{"TransactItems":{"Get":{"TableName":"no-t"}}}`), "!"},
		"exact":    {transact(`{"TransactItems":[{"Get":{"TableName":"t","Key":{"k":{"S":"x"}}}},{"Get":{"TableName":"u","Key":{}}}]}`), of("dynamodb") + "table/t " + of("dynamodb") + "table/u"},
		"batches":  {target("dynamodb", "DynamoDB_20120810.BatchGetItem", `{"RequestItems":{"t":{}},"requestItems":{"u":{}}}`), "!"},
		"batch":    {target("dynamodb", "DynamoDB_20120810.BatchGetItem", `{"RequestItems":{"t":{},"T":{}}}`), of("dynamodb") + "table/t " + of("dynamodb") + "table/T"},

		// API Gateway's paths.
		"gateway encoded":  {get("DELETE https://apigateway.us-east-1.amazonaws.com/restapis/%61bc123"), "arn:aws:apigateway:us-east-1::/restapis/abc123"},
		"gateway slash":    {get("DELETE https://apigateway.us-east-1.amazonaws.com/restapis/abc123/"), ""},
		"gateway slashes":  {get("DELETE https://apigateway.us-east-1.amazonaws.com//restapis/abc123"), ""},
		"gateway exact":    {get("DELETE https://apigateway.us-east-1.amazonaws.com/restapis/abc123"), "arn:aws:apigateway:us-east-1::/restapis/abc123"},
		"gateway tags":     {get("GET https://apigateway.us-east-1.amazonaws.com/tags/arn:aws:apigateway:us-east-1::%2frestapis%2fabc"), "arn:aws:apigateway:us-east-1::/tags/arn%3Aaws%3Aapigateway%3Aus-east-1%3A%3A%2Frestapis%2Fabc"},
		"invoke encoded":   {get("GET https://x1.execute-api.us-east-1.amazonaws.com/prod/%73ecret"), of("execute-api") + "x1/prod/GET/secret"},
		"invoke slashes":   {get("GET https://x1.execute-api.us-east-1.amazonaws.com/prod//secret"), ""},
		"invoke dots":      {get("GET https://x1.execute-api.us-east-1.amazonaws.com/prod/a/%2e%2e/secret"), ""},
		"invoke slash":     {get("GET https://x1.execute-api.us-east-1.amazonaws.com/prod/secret/"), of("execute-api") + "x1/prod/GET/secret/ " + of("execute-api") + "x1/prod/GET/secret"},
		"invoke root":      {get("GET https://x1.execute-api.us-east-1.amazonaws.com/prod/"), of("execute-api") + "x1/prod/GET/"},
		"invoke empty":     {get("GET https://x1.execute-api.us-east-1.amazonaws.com/"), of("execute-api") + "x1/$default/GET/"},
		"invoke private":   {get("GET https://x1-vpce-0a1b2c3d.execute-api.us-east-1.amazonaws.com/prod/secret"), of("execute-api") + "x1/prod/GET/secret"},
		"invoke by header": {invoke("vpce-0a1b2c3d-4e5f.execute-api.us-east-1.vpce", "x1"), of("execute-api") + "x1/prod/GET/secret"},
		"invoke unsaid":    {invoke("vpce-0a1b2c3d-4e5f.execute-api.us-east-1.vpce"), ""},
		"invoke said":      {invoke("x1.execute-api.us-east-1", "x1"), of("execute-api") + "x1/prod/GET/secret"},
		"invoke two":       {invoke("x1.execute-api.us-east-1", "x2"), "!"},
		"invoke twice":     {invoke("vpce-0a1b2c3d-4e5f.execute-api.us-east-1.vpce", "x1", "x2"), "!"},
		"invoke any":       {invoke("vpce-0a1b2c3d-4e5f.execute-api.us-east-1.vpce", "x1/prod/GET/open"), "!"},
		"invoke one label": {get("GET https://x1.execute-api.us-east-1.amazonaws.com/prod/a%2Fsecret"), ""},

		// Case.
		"rds":         {form("rds", "Action=DeleteDBInstance&Version=2014-10-31&DBInstanceIdentifier=SECRET"), of("rds") + "db:secret"},
		"rds arn":     {form("rds", "Action=AddTagsToResource&Version=2014-10-31&ResourceName=arn%3Aaws%3Ards%3Aus-east-1%3A"+account+"%3Adb%3ASecret"), of("rds") + "db:secret"},
		"elasticache": {form("elasticache", "Action=DeleteReplicationGroup&Version=2015-02-02&ReplicationGroupId=Secret"), of("elasticache") + "replicationgroup:secret"},
		"redshift":    {form("redshift", "Action=PauseCluster&Version=2012-12-01&ClusterIdentifier=Secret"), of("redshift") + "cluster:Secret " + of("redshift") + "cluster:secret"},
		"glue case":   {target("glue", "AWSGlue.GetTable", `{"DatabaseName":"DB","Name":"Secret"}`), of("glue") + "database/db " + of("glue") + "catalog " + of("glue") + "table/db/secret"},

		// Secrets.
		"secret":      {target("secretsmanager", "secretsmanager.GetSecretValue", `{"SecretId":"prod/db"}`), of("secretsmanager") + "secret:prod/db-??????"},
		"secret arn":  {target("secretsmanager", "secretsmanager.GetSecretValue", `{"SecretId":"`+of("secretsmanager")+`secret:prod/db-a1B2c3"}`), of("secretsmanager") + "secret:prod/db-a1B2c3"},
		"secret part": {target("secretsmanager", "secretsmanager.GetSecretValue", `{"SecretId":"`+of("secretsmanager")+`secret:prod/db"}`), of("secretsmanager") + "secret:prod/db-??????"},
		"secret new":  {target("secretsmanager", "secretsmanager.CreateSecret", `{"Name":"prod/db"}`), of("secretsmanager") + "secret:prod/db-??????"},

		// What is not understood is not what an ARN beside it names.
		"alias beside a key": {target("kms", "TrentService.ReEncrypt", `{"SourceKeyId":"alias/secret","DestinationKeyId":"`+of("kms")+`key/mine"}`), ""},
		"reencrypted":        {target("kms", "TrentService.ReEncrypt", `{"SourceKeyId":"`+of("kms")+`key/a","DestinationKeyId":"`+of("kms")+`key/b"}`), of("kms") + "key/a " + of("kms") + "key/b"},
		"alias with a colon": {target("kms", "TrentService.DeleteAlias", `{"AliasName":"alias/team:a"}`), of("kms") + "alias/team:a " + of("kms") + "key/*"},
		"default options":    {form("rds", "Action=ModifyDBInstance&DBInstanceIdentifier=db&OptionGroupName=default%3Amysql-8-0"), of("rds") + "db:db " + of("rds") + "og:default:mysql-8-0"},
		"RDS's own snapshot": {form("rds", "Action=RestoreDBInstanceFromDBSnapshot&DBInstanceIdentifier=db&DBSnapshotIdentifier=rds%3Aold-2026-03-01-00-00"), of("rds") + "db:db " + of("rds") + "snapshot:rds:old-2026-03-01-00-00"},
		"thing with a colon": {request(t, tab, "PUT https://iot.us-east-1.amazonaws.com/thing-groups/addThingToThingGroup", http.Header{"Content-Type": {"application/json"}}, `{"thingGroupName":"g","thingName":"aa:bb"}`), of("iot") + "thing/aa:bb " + of("iot") + "thinggroup/g"},
		"odd alias":          {target("kms", "TrentService.DeleteAlias", `{"AliasName":"alias/team a"}`), of("kms") + "key/* " + of("kms") + "alias/*"},
		"odd nested table":   {target("glue", "AWSGlue.BatchGetTableOptimizer", `{"Entries":[{"catalogId":"`+account+`","databaseName":"db","tableName":"secret:1","type":"compaction"}]}`), ""},
		"odd table":          {target("glue", "AWSGlue.DeleteTable", `{"DatabaseName":"db","Name":"secret:1"}`), ""},
		"a name and an ARN":  {request(t, tab, "PATCH https://aiops.us-east-1.amazonaws.com/investigationGroups/secret%3A1", nil, `{"roleArn":"`+of("aiops")+`investigation-group/mine"}`), ""},
		"nested ARN":         {request(t, tab, "POST https://amplify.us-east-1.amazonaws.com/apps/a%3A1/branches/b", http.Header{"Content-Type": {"application/json"}}, `{"backendEnvironmentArn":"`+of("amplify")+`apps/mine/branches/mine"}`), ""},

		// A body may say again what the path says, if it says the same.
		"said again":  {put("/app/a/environment/e/components/c", `{"id":"c","name":"n"}`), of("amplifyuibuilder") + "app/a/environment/e/components/c"},
		"said anew":   {put("/app/a/environment/e/components/c", `{"id":"d","name":"n"}`), "!"},
		"said thrice": {put("/app/a/environment/e/components/c", `{"id":"c","ID":"d","name":"n"}`), "!"},

		// Selectors.
		"parameter":       {target("ssm", "AmazonSSM.GetParameter", `{"Name":"/prod/db:3"}`), of("ssm") + "parameter/prod/db"},
		"parameter arn":   {target("ssm", "AmazonSSM.GetParameter", `{"Name":"`+of("ssm")+`parameter/prod/db:3"}`), of("ssm") + "parameter/prod/db"},
		"parameters":      {target("ssm", "AmazonSSM.GetParameters", `{"Names":["/a:label","`+of("ssm")+`parameter/b:1","c"]}`), of("ssm") + "parameter/b " + of("ssm") + "parameter/a " + of("ssm") + "parameter/c"},
		"machine version": {target("states", "AWSStepFunctions.StartExecution", `{"stateMachineArn":"`+of("states")+`stateMachine:secret:1"}`), of("states") + "stateMachine:secret"},
		"machine label":   {target("states", "AWSStepFunctions.DescribeStateMachine", `{"stateMachineArn":"`+of("states")+`stateMachine:secret/map"}`), of("states") + "stateMachine:secret"},

		"secret parameter": {target("ssm", "AmazonSSM.GetParameter", `{"Name":"/aws/reference/secretsmanager/prod/db"}`),
			of("ssm") + "parameter/aws/reference/secretsmanager/prod/db " + of("secretsmanager") + "secret:prod/db-??????"},
		"log group":     {target("logs", "Logs_20140328.ListLogAnomalyDetectors", `{"filterLogGroupArn":"`+of("logs")+`log-group:/a"}`), ""},
		"log group arn": {target("logs", "Logs_20140328.GetLogGroupFields", `{"logGroupIdentifier":"`+of("logs")+`log-group:/a:*"}`), of("logs") + "log-group:/a"},

		// Whose it is.
		"catalog":  {target("glue", "AWSGlue.GetTable", `{"CatalogId":"999999999999","DatabaseName":"db","Name":"t"}`), "arn:aws:glue:us-east-1:999999999999:database/db arn:aws:glue:us-east-1:999999999999:catalog arn:aws:glue:us-east-1:999999999999:table/db/t"},
		"own":      {target("glue", "AWSGlue.GetTable", `{"CatalogId":"`+account+`","DatabaseName":"db","Name":"t"}`), of("glue") + "database/db " + of("glue") + "catalog " + of("glue") + "table/db/t"},
		"nested":   {target("glue", "AWSGlue.GetTable", `{"CatalogId":"`+account+`:s3tablescatalog/b","DatabaseName":"db","Name":"t"}`), ""},
		"registry": {target("api.ecr", "AmazonEC2ContainerRegistry_V20150921.DeleteRepository", `{"registryId":"999999999999","repositoryName":"r"}`), "arn:aws:ecr:us-east-1:999999999999:repository/r"},

		// More than one thing.
		"glue tables": {target("glue", "AWSGlue.BatchDeleteTable", `{"DatabaseName":"db","TablesToDelete":["a","secret"]}`),
			of("glue") + "database/db " + of("glue") + "catalog " + of("glue") + "table/db/a " + of("glue") + "table/db/secret"},
		"glue list":   {target("glue", "AWSGlue.GetTables", `{"DatabaseName":"db"}`), of("glue") + "database/db " + of("glue") + "catalog " + of("glue") + "table/db/*"},
		"glue search": {target("glue", "AWSGlue.SearchTables", `{"SearchText":"x"}`), of("glue") + "catalog " + of("glue") + "database/* " + of("glue") + "table/*/*"},
		"reencrypt":   {target("kms", "TrentService.ReEncrypt", `{"CiphertextBlob":"AA==","DestinationKeyId":"k2"}`), of("kms") + "key/k2 " + of("kms") + "key/*"},
		"reencrypt2":  {target("kms", "TrentService.ReEncrypt", `{"CiphertextBlob":"AA==","SourceKeyId":"k1","DestinationKeyId":"k2"}`), of("kms") + "key/k1 " + of("kms") + "key/k2"},
		"send":        {target("ssm", "AmazonSSM.SendCommand", `{"DocumentName":"d","Targets":[{"Key":"InstanceIds","Values":["i-1"]}]}`), of("ssm") + "document/d " + of("ec2") + "instance/* " + of("ssm") + "managed-instance/*"},

		"glue update": {target("glue", "AWSGlue.UpdateTable", `{"DatabaseName":"db","TableInput":{"Name":"secret"}}`), of("glue") + "database/db " + of("glue") + "catalog " + of("glue") + "table/db/*"},
		"template": {form("ec2", "Action=RunInstances&LaunchTemplate.LaunchTemplateId=lt-0a1b2c3d&SubnetId=subnet-0a1b2c3d"),
			of("ec2") + "launch-template/lt-0a1b2c3d " + of("ec2") + "subnet/subnet-0a1b2c3d arn:aws:ec2:us-east-1::image/* " + of("ec2") + "key-pair/* " + of("ec2") + "security-group/*"},
		"template by name": {form("ec2", "Action=RunInstances&LaunchTemplate.LaunchTemplateName=n&ImageId=ami-0a1b2c3d&SubnetId=subnet-0a1b2c3d&SecurityGroupId.1=sg-0a1b2c3d&KeyName=k"),
			"arn:aws:ec2:us-east-1::image/ami-0a1b2c3d " + of("ec2") + "key-pair/k " + of("ec2") + "security-group/sg-0a1b2c3d " + of("ec2") + "subnet/subnet-0a1b2c3d " + of("ec2") + "launch-template/*"},
		"another kind of it": {form("elasticbeanstalk", "Action=UpdateEnvironment&ApplicationName=a&EnvironmentId=e-secret"), of("elasticbeanstalk") + "environment/a/*"},
		"one whole, one in part": {form("autoscaling", "Action=AttachLoadBalancerTargetGroups&AutoScalingGroupName=web&TargetGroupARNs.member.1=arn%3Aaws%3Aelasticloadbalancing%3Aus-east-1%3A"+account+"%3Atargetgroup%2Ft%2F1"),
			of("autoscaling") + "autoScalingGroup:*:autoScalingGroupName/web"},
		"hub":        {target("api.sagemaker", "SageMaker.DeleteHubContent", `{"HubName":"h","HubContentName":"secret"}`), of("sagemaker") + "hub/h " + of("sagemaker") + "hub-content/h/*/secret"},
		"change set": {form("cloudformation", "Action=ExecuteChangeSet&StackName=ok&ChangeSetName=arn%3Aaws%3Acloudformation%3Aus-east-1%3A"+account+"%3AchangeSet%2Fc%2F1"), ""},
		"alias":      {target("kms", "TrentService.UpdateAlias", `{"AliasName":"alias/a","TargetKeyId":"k"}`), of("kms") + "alias/a " + of("kms") + "key/k " + of("kms") + "key/*"},

		"region":  {request(t, tab, "POST https://account.us-east-1.amazonaws.com/enableRegion", http.Header{"Content-Type": {"application/json"}}, `{"RegionName":"eu-south-1"}`), "arn:aws:account::" + account + ":account"},
		"region2": {request(t, tab, "POST https://account.us-east-1.amazonaws.com/enableRegion", http.Header{"Content-Type": {"application/json"}}, `{"AccountId":"999999999999","RegionName":"eu-south-1"}`), "arn:aws:account::" + account + ":account arn:aws:account::*:account/o-*/999999999999"},
		"model":   {request(t, tab, "POST https://bedrock-runtime.us-east-1.amazonaws.com/model/secret/invoke", http.Header{"Content-Type": {"application/json"}}, "{}"), ""},

		// Paths and methods.
		"dots":    {get("DELETE https://eks.us-east-1.amazonaws.com/clusters/c/node-groups/.."), "!"},
		"dots2":   {get("DELETE https://eks.us-east-1.amazonaws.com/clusters/c/node-groups/%2E%2e"), "!"},
		"method":  {request(t, tab, "GET https://eks.us-east-1.amazonaws.com/clusters/c", http.Header{"X-Http-Method-Override": {"DELETE"}}, ""), "!"},
		"same":    {request(t, tab, "GET https://eks.us-east-1.amazonaws.com/clusters/c", http.Header{"X-Http-Method-Override": {"GET"}}, ""), of("eks") + "cluster/c"},
		"copied":  {request(t, tab, "PUT https://b.s3.us-east-1.amazonaws.com/k", http.Header{"X-Amz-Copy-Source": {"c/ok", "c/secret"}}, ""), "!"},
		"copied2": {request(t, tab, "PUT https://b.s3.us-east-1.amazonaws.com/k", http.Header{"X-Amz-Copy-Source": {"c/ok?x"}}, ""), "!"},

		"copied3": {copyFrom("%2Fc%2Fsecret"), "arn:aws:s3:::b/k arn:aws:s3:::c/secret"},
		"copied4": {copyFrom("%2fc/secret?versionId=v"), "arn:aws:s3:::b/k arn:aws:s3:::c/secret"},
		"copied5": {copyFrom("/%2Fc%2Fsecret"), "!"},
		"copied6": {copyFrom("//c/secret"), "!"},
		"copied7": {copyFrom("c%2Fsecret%3FversionId=v"), "!"},
		"copied8": {copyFrom("%2Farn%3Aaws%3As3%3Aus-east-1%3A" + account + "%3Aaccesspoint%2Fa%2Fobject%2Fk"), "arn:aws:s3:::b/k " + of("s3") + "accesspoint/a/object/k"},

		"plus":             {get("GET https://b.s3.us-east-1.amazonaws.com/my+secret%2B"), "arn:aws:s3:::b/my+secret+ arn:aws:s3:::b/my secret+"},
		"plus2":            {request(t, tab, "PUT https://b.s3.us-east-1.amazonaws.com/k", http.Header{"X-Amz-Copy-Source": {"/c/my+secret"}}, ""), "arn:aws:s3:::b/k arn:aws:s3:::c/my+secret arn:aws:s3:::c/my secret"},
		"gateway capitals": {get("DELETE https://apigateway.us-east-1.amazonaws.com/restapis/ABC/stages/Prod"), "arn:aws:apigateway:us-east-1::/restapis/ABC/stages/Prod arn:aws:apigateway:us-east-1::/restapis/abc/stages/Prod"},

		// Lists, and bodies that are not what they seem.
		"tags":          {get("DELETE https://lambda.us-east-1.amazonaws.com/2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A" + account + "%3Afunction%3Af?tagKeys=a&tagKeys=b"), of("lambda") + "function:f"},
		"tags' case":    {get("DELETE https://lambda.us-east-1.amazonaws.com/2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A" + account + "%3Afunction%3Af?tagKeys=a&TagKeys=b"), "!"},
		"query as form": {request(t, tab, "POST https://rds.us-east-1.amazonaws.com/?Action=DeleteDBInstance&DBInstanceIdentifier=ok", http.Header{"Content-Type": {"text/plain"}}, "DBInstanceIdentifier=secret"), ""},
		// Headers of protocols that the service does not speak.
		"query and target": {request(t, tab, "POST https://ec2.us-east-1.amazonaws.com/?Action=TerminateInstances&Version=2016-11-15&InstanceId.1=i-0a1b2c3d", http.Header{"Content-Type": {"application/json"}, "X-Amz-Target": {"x"}}, `{"InstanceId":"i-0aaaa"}`), ""},
		"form and target":  {request(t, tab, "POST https://ec2.us-east-1.amazonaws.com/", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "X-Amz-Target": {".TerminateInstances"}}, "Action=TerminateInstances&InstanceId.1=i-0a1b2c3d"), of("ec2") + "instance/i-0a1b2c3d"},
		"query and CBOR":   {request(t, tab, "POST https://ec2.us-east-1.amazonaws.com/?Action=TerminateInstances&InstanceId.1=i-0a1b2c3d", http.Header{"Content-Type": {"application/cbor"}, "Smithy-Protocol": {"rpc-v2-cbor"}}, "\xa1\x6aInstanceId\x67i-0aaaa"), ""},
		"query alone":      {request(t, tab, "POST https://ec2.us-east-1.amazonaws.com/?Action=TerminateInstances&InstanceId.1=i-0a1b2c3d", http.Header{"X-Amz-Target": {"x"}, "Smithy-Protocol": {"rpc-v2-cbor"}}, ""), of("ec2") + "instance/i-0a1b2c3d"},
		"path and target":  {request(t, tab, "DELETE https://codeartifact.us-east-1.amazonaws.com/v1/repository?domain=secret&repository=secret", http.Header{"Content-Type": {"application/json"}, "X-Amz-Target": {"x"}}, `{"domain":"ok","repository":"ok"}`), "!"},
		"path and target2": {request(t, tab, "DELETE https://codeartifact.us-east-1.amazonaws.com/v1/repository?domain=d&repository=r", http.Header{"X-Amz-Target": {"x"}}, ""), of("codeartifact") + "repository/*/r"},
		"path and CBOR":    {request(t, tab, "DELETE https://codeartifact.us-east-1.amazonaws.com/v1/repository?domain=secret&repository=secret", http.Header{"Smithy-Protocol": {"rpc-v2-cbor"}}, "\xa2\x66domain\x62ok\x6arepository\x62ok"), "!"},
		// And of one that it does speak, with what nobody here can read.
		"unheard target": {request(t, tab, "POST https://dynamodb.us-east-1.amazonaws.com/?Action=GetItem&TableName=ok", http.Header{"X-Amz-Target": {"dynamodb_20120810.DeleteTable"}}, `{"TableName":"secret"}`), "!"},
		"two targets":    {request(t, tab, "POST https://dynamodb.us-east-1.amazonaws.com/?Action=GetItem&TableName=ok", http.Header{"X-Amz-Target": {"DynamoDB_20120810.DeleteTable", "DynamoDB_20120810.GetItem"}}, `{"TableName":"secret"}`), "!"},
		"query as JSON":  {request(t, tab, "POST https://dynamodb.us-east-1.amazonaws.com/?TableName=ok", http.Header{"X-Amz-Target": {"DynamoDB_20120810.GetItem"}}, "\x1f\x8b"), ""},
		"cut form":       {cut(request(t, tab, "POST https://ec2.us-east-1.amazonaws.com/?InstanceId.1=i-0a1b2c3d", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, "Action=TerminateInstances&InstanceId.1=i-secret")), ""},
		"cut JSON": {cut(request(t, tab, "PUT https://workspaces-web.us-east-1.amazonaws.com/portals/arn:aws:workspaces-web:us-east-1:"+account+":portal%2Fp/browserSettings", http.Header{"Content-Type": {"application/json"}}, "{")),
			of("workspaces-web") + "portal/p " + of("workspaces-web") + "browserSettings/*"},
		"spaces": {target("ssm", "AmazonSSM.GetParameter", `{"Name":"`+of("ssm")+`parameter/secret "}`), ""},

		// Sessions, and rules of event buses.
		"session":     {target("ssm", "AmazonSSM.StartSession", `{"Target":"i-0a1b2c3d","DocumentName":"d"}`), of("ssm") + "document/d " + of("ec2") + "instance/i-0a1b2c3d"},
		"hybrid":      {target("ssm", "AmazonSSM.StartSession", `{"Target":"mi-0a1b2c3d"}`), of("ssm") + "managed-instance/mi-0a1b2c3d"},
		"task":        {target("ssm", "AmazonSSM.StartSession", `{"Target":"ecs:c_t_r","DocumentName":"d"}`), of("ssm") + "document/d " + of("ecs") + "task/*"},
		"task alone":  {target("ssm", "AmazonSSM.StartSession", `{"Target":"ecs:c_t_r"}`), ""},
		"rule":        {target("events", "AWSEvents.DeleteRule", `{"Name":"r"}`), of("events") + "rule/r"},
		"default bus": {target("events", "AWSEvents.DeleteRule", `{"Name":"r","EventBusName":"default"}`), of("events") + "rule/r"},
		"bus":         {target("events", "AWSEvents.DeleteRule", `{"Name":"r","EventBusName":"b"}`), of("events") + "rule/b/r"},
		"bus's ARN":   {target("events", "AWSEvents.DeleteRule", `{"Name":"r","EventBusName":"`+of("events")+`event-bus/b"}`), of("events") + "rule/b/r"},
		"another's":   {target("events", "AWSEvents.DeleteRule", `{"Name":"r","EventBusName":"arn:aws:events:us-east-1:999999999999:event-bus/b"}`), of("events") + "rule/*/r"},

		"path":       {target("ssm", "AmazonSSM.GetParametersByPath", `{"Path":"/prod"}`), of("ssm") + "parameter/prod " + of("ssm") + "parameter/prod/*"},
		"path slash": {target("ssm", "AmazonSSM.GetParametersByPath", `{"Path":"/prod/"}`), of("ssm") + "parameter/prod/*"},
		"rename":     {iam("Action=UpdateUser&UserName=a&NewUserName=b"), "arn:aws:iam::" + account + ":user/*a arn:aws:iam::" + account + ":user/*b"},
		"instance":   {form("ec2", "Action=TerminateInstances&InstanceId.1=I-0A1B"), of("ec2") + "instance/I-0A1B " + of("ec2") + "instance/i-0a1b"},

		"accounts": {request(t, tab, "DELETE https://"+account+".s3-control.eu-west-1.amazonaws.com/v20180820/accesspoint/ap", http.Header{"X-Amz-Account-Id": {"999999999999"}}, ""), "!"},
		"account":  {request(t, tab, "DELETE https://"+account+".s3-control.eu-west-1.amazonaws.com/v20180820/accesspoint/ap", http.Header{"X-Amz-Account-Id": {account}}, ""), "arn:aws:s3:eu-west-1:" + account + ":accesspoint/ap"},

		// Queues.
		"queue path":      {sqs("/"+account+"/queue-secret", "", "Action=DeleteQueue"), of("sqs") + "queue-secret"},
		"queue both":      {sqs("/"+account+"/q.fifo", "", "Action=DeleteQueue&QueueUrl=https%3A%2F%2Fsqs.us-east-1.amazonaws.com%2F"+account+"%2Fq.fifo"), of("sqs") + "q.fifo"},
		"queues":          {sqs("/"+account+"/queue-secret", "", "Action=DeleteQueue&QueueUrl=https%3A%2F%2Fsqs.us-east-1.amazonaws.com%2F"+account+"%2Fother"), "!"},
		"queue elsewhere": {sqs("/"+account+"//queue-secret", "", "Action=DeleteQueue&QueueUrl=https%3A%2F%2Fsqs.us-east-1.amazonaws.com%2F"+account+"%2Fother"), ""},
		"queue query":     {target("sqs", "AmazonSQS.DeleteQueue", `{"QueueUrl":"https://sqs.us-east-1.amazonaws.com/`+account+`/queue-secret?a=/`+account+`/other"}`), ""},
		"queue fragment":  {target("sqs", "AmazonSQS.DeleteQueue", `{"QueueUrl":"https://sqs.us-east-1.amazonaws.com/`+account+`/queue-secret#/`+account+`/other"}`), ""},
		"queue deep":      {target("sqs", "AmazonSQS.DeleteQueue", `{"QueueUrl":"https://sqs.us-east-1.amazonaws.com/`+account+`/queue-secret//`+account+`/other"}`), ""},
		"queue encoded":   {target("sqs", "AmazonSQS.DeleteQueue", `{"QueueUrl":"https://sqs.us-east-1.amazonaws.com/`+account+`/queue%2Dsecret"}`), ""},
		"queue host":      {target("sqs", "AmazonSQS.DeleteQueue", `{"QueueUrl":"https://a?b/`+account+`/other"}`), ""},

		// Keys to delete.
		"two keys":   {del(`<Object><Key>k</Key><Key>a</Key></Object>`), "arn:aws:s3:::b/*"},
		"prefixed":   {del(`<Object><Key>k</Key><q:Key xmlns:q="x">a</q:Key></Object>`), "arn:aws:s3:::b/*"},
		"prefixed2":  {del(`<Object><Key>k</Key><q:Key>a</q:Key></Object>`), "arn:aws:s3:::b/*"},
		"nested key": {del(`<Object><Key>k</Key></Object><X><Object><Key>a</Key></Object></X>`), "arn:aws:s3:::b/*"},
		"in object":  {del(`<Object><Object><Key>a</Key></Object><Key>k</Key></Object>`), "arn:aws:s3:::b/*"},
		"in key":     {del(`<Object><Key>k<!-- -->a</Key></Object>`), "arn:aws:s3:::b/*"},
		"no key":     {del(`<Object></Object><Object><Key>k</Key></Object>`), "arn:aws:s3:::b/*"},
		"keys":       {del(`<Object><Key>k</Key></Object><Quiet>true</Quiet><Object><Key>a&amp;b</Key><VersionId>v</VersionId></Object>`), "arn:aws:s3:::b/k arn:aws:s3:::b/a&b"},
		"no delete":  {request(t, tab, "POST https://b.s3.us-east-1.amazonaws.com/?delete", nil, "<X><Object><Key>a</Key></Object></X>"), "arn:aws:s3:::b/*"},
		"two roots":  {request(t, tab, "POST https://b.s3.us-east-1.amazonaws.com/?delete", nil, "<Delete><Object><Key>a</Key></Object></Delete><Delete/>"), "arn:aws:s3:::b/*"},
	} {
		r := tab.Recognize(c.in)
		got := strings.Join(r.Resources, " ")
		if r.Ambiguous { // whatever it names
			got = "!"
		}
		if d := cmp.Diff(c.want, got); d != "" || r.Operation == "" && !r.Ambiguous || r.Ambiguous != (r.Doubt != "") {
			t.Errorf("%s: %s (doubt %q): %s", name, r.Operation, r.Doubt, d)
		}
	}
}
