{{- define "weir.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "weir.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "weir.labels" -}}
{{ include "weir.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "weir.standalone" -}}
{{- $redis := .Values.config.redis | default dict -}}
{{- if not (or .Values.existingSecret $redis.address $redis.sentinel_addresses $redis.cluster_addresses) -}}
yes
{{- end -}}
{{- end -}}

{{- define "weir.config" -}}
{{- /* Numbers stay whole, and a `port` is only there where there is an API. */ -}}
{{- $config := deepCopy .Values.config -}}
{{- if not (include "weir.standalone" .) -}}
{{- $_ := unset $config "port" -}}
{{- $_ := unset $config "bind" -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
