#!/bin/sh
# Makes deploy/secrets with a random secret for each service of docker-compose.yml. What is there already stays.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
cd secrets
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
keep() { [ -e "$1" ] || printf %s "$2" > "$1"; }

keep postgres_password "$(random)"
keep redis_password "$(random)"
keep s3_access_key "$(random)"
keep s3_secret_key "$(random)"
keep metrics_token "$(random)"
keep secret_key "$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')"
keep grafana_password "$(random)"
keep flower_login "operator:$(random)"
keep database_url "postgresql+psycopg://ttm:$(cat postgres_password)@postgres:5432/ttm"
keep broker_url "redis://:$(cat redis_password)@redis:6379/0"
keep s3_config.json "{\"identities\": [{\"name\": \"ttm\", \"actions\": [\"Admin\", \"Read\", \"Write\", \"List\", \"Tagging\"],
  \"credentials\": [{\"accessKey\": \"$(cat s3_access_key)\", \"secretKey\": \"$(cat s3_secret_key)\"}]}]}"
# The folder is its owner's alone; within it the files are readable, since containers read them as users of their own.
chmod 644 -- *
