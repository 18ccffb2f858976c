//! What ConfigMap, Secret, projected and downward API volumes hold, collected from their objects.

use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, ServiceAccount, ServiceAccountTokenProjection, Volume,
    VolumeProjection,
};
use kube::Api;
use kube::api::PostParams;

use super::publish::Files;
use super::{Refresh, VolumeError, relative};
use crate::node::Node;
use crate::pod::downward::{self, Facts};

const DEFAULT_MODE: i32 = 0o644;

/// The files of one volume, and until when they are good.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(super) files: Files,
    pub(super) until: Refresh,
}

struct Source<'a> {
    kind: &'static str,
    name: &'a str,
    /// Content by key; `None` when the object is not there.
    data: Option<Vec<(String, Vec<u8>)>>,
    optional: bool,
}

fn mode(mode: Option<i32>) -> u32 {
    u32::try_from(mode.unwrap_or(DEFAULT_MODE)).unwrap_or(0o644) & 0o777
}

fn of_config_map(map: &ConfigMap) -> Vec<(String, Vec<u8>)> {
    let text = map.data.iter().flatten().map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    text.chain(map.binary_data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone()))).collect()
}

fn of_secret(secret: &Secret) -> Vec<(String, Vec<u8>)> {
    secret.data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())).collect()
}

struct Context<'a> {
    node: &'a Arc<Node>,
    pod: &'a Pod,
    facts: &'a Facts,
    namespace: &'a str,
    /// Where the volume is, for what was published before.
    place: &'a Path,
}

impl Published {
    /// Collects the files of a volume; `None` when it is not of a kind that is made from objects.
    pub(crate) async fn collect(
        node: &Arc<Node>,
        pod: &Pod,
        facts: &Facts,
        volume: &Volume,
        place: &Path,
    ) -> Result<Option<Self>, VolumeError> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let context = Context { node, pod, facts, namespace, place };
        let mut published = Self::default();
        if let Some(map) = &volume.config_map {
            let source = context.config_map(&map.name, map.optional);
            published.add(source, map.items.as_deref(), mode(map.default_mode))?;
        } else if let Some(secret) = &volume.secret {
            let source = context.secret(secret.secret_name.as_deref().unwrap_or_default(), secret.optional);
            published.add(source, secret.items.as_deref(), mode(secret.default_mode))?;
        } else if let Some(downward) = &volume.downward_api {
            let items = downward.items.as_deref().unwrap_or_default();
            published.add_fields(&context, items, mode(downward.default_mode))?;
        } else if let Some(projected) = &volume.projected {
            for source in projected.sources.iter().flatten() {
                published.add_projection(&context, source, mode(projected.default_mode)).await?;
            }
        } else {
            return Ok(None);
        }
        Ok(Some(published))
    }

    fn add(&mut self, source: Source<'_>, items: Option<&[KeyToPath]>, default_mode: u32) -> Result<(), VolumeError> {
        let Source { kind, name, data, optional } = source;
        let Some(data) = data else {
            return if optional { Ok(()) } else { Err(VolumeError::NoObject { kind, name: name.to_owned() }) };
        };
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            self.files.extend(data.into_iter().map(|(key, content)| (key.into(), (content, default_mode))));
            return Ok(());
        };
        for item in items {
            match data.iter().find(|(key, _)| *key == item.key) {
                Some((_, content)) => {
                    let mode = item.mode.map_or(default_mode, |m| mode(Some(m)));
                    self.files.insert(relative(&item.path)?, (content.clone(), mode));
                }
                None if optional => {}
                None => return Err(VolumeError::NoKey { kind, name: name.to_owned(), key: item.key.clone() }),
            }
        }
        Ok(())
    }

    fn add_fields(
        &mut self,
        context: &Context<'_>,
        items: &[DownwardAPIVolumeFile],
        default_mode: u32,
    ) -> Result<(), VolumeError> {
        for item in items {
            let text = if let Some(field) = &item.field_ref {
                downward::field(context.pod, context.facts, &field.field_path)?
            } else if let Some(resource) = &item.resource_field_ref {
                downward::resource(context.pod, None, context.facts, resource)?
            } else {
                continue;
            };
            let mode = item.mode.map_or(default_mode, |m| mode(Some(m)));
            self.files.insert(relative(&item.path)?, (text.into_bytes(), mode));
        }
        Ok(())
    }

    async fn add_projection(
        &mut self,
        context: &Context<'_>,
        source: &VolumeProjection,
        default_mode: u32,
    ) -> Result<(), VolumeError> {
        if let Some(map) = &source.config_map {
            self.add(context.config_map(&map.name, map.optional), map.items.as_deref(), default_mode)?;
        }
        if let Some(secret) = &source.secret {
            self.add(context.secret(&secret.name, secret.optional), secret.items.as_deref(), default_mode)?;
        }
        if let Some(fields) = &source.downward_api {
            self.add_fields(context, fields.items.as_deref().unwrap_or_default(), default_mode)?;
        }
        if let Some(token) = &source.service_account_token {
            let (text, until) = context.token(token).await?;
            self.files.insert(relative(&token.path)?, (text.into_bytes(), default_mode));
            self.until = [self.until, Some(until)].into_iter().flatten().min();
        }
        Ok(())
    }
}

impl Context<'_> {
    fn config_map<'n>(&self, name: &'n str, optional: Option<bool>) -> Source<'n> {
        let data = self.node.cluster.config_map(self.namespace, name).map(|map| of_config_map(&map));
        Source { kind: "configmap", name, data, optional: optional.unwrap_or(false) }
    }

    fn secret<'n>(&self, name: &'n str, optional: Option<bool>) -> Source<'n> {
        let data = self.node.cluster.secret(self.namespace, name).map(|secret| of_secret(&secret));
        Source { kind: "secret", name, data, optional: optional.unwrap_or(false) }
    }

    /// A token bound to the pod, and when to ask for the next: after four fifths of its life. One that is young enough is used again.
    async fn token(&self, wanted: &ServiceAccountTokenProjection) -> Result<(String, Timestamp), VolumeError> {
        let account =
            self.pod.spec.as_ref().and_then(|s| s.service_account_name.clone()).unwrap_or_else(|| "default".to_owned());
        let key = (self.pod.metadata.uid.clone().unwrap_or_default(), self.place.join(&wanted.path));
        if let Some((token, until)) = self.node.tokens.young(&key) {
            return Ok((token, until));
        }
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: wanted.audience.iter().filter(|a| !a.is_empty()).cloned().collect(),
                expiration_seconds: Some(wanted.expiration_seconds.unwrap_or(3600)),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: self.pod.metadata.name.clone(),
                    uid: self.pod.metadata.uid.clone(),
                }),
            },
            ..TokenRequest::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.node.client.clone(), self.namespace);
        let failed = |source: kube::Error| VolumeError::Token { account: account.clone(), source: Box::new(source) };
        let made = api.create_token_request(&account, &PostParams::default(), &request).await.map_err(failed)?;
        let status = made.status.ok_or_else(|| VolumeError::NoToken(account.clone()))?;
        let now = Timestamp::now();
        let life = status.expiration_timestamp.0.duration_since(now);
        let until = now.checked_add(SignedDuration::from_secs(life.as_secs().saturating_mul(4) / 5)).unwrap_or(now);
        self.node.tokens.keep(key, status.token.clone(), until);
        Ok((status.token, until))
    }
}
