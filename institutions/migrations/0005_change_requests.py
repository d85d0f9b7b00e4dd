"""Requests that take two people, and what the database itself refuses about them. Unfreezing and wider scopes of a key take one."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


SQL = """
-- What was asked stays as it was asked; one decision ends it, by another person, in time, of the payload that was shown.
CREATE FUNCTION institutions_changerequest_check() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.payload_hash := sha256(convert_to(NEW.payload, 'UTF8'));
        IF NEW.state <> 'PENDING' OR NEW.checker_user_id IS NOT NULL OR NEW.checked_at IS NOT NULL OR NEW.approved_hash IS NOT NULL
           OR NEW.result IS NOT NULL THEN
            RAISE EXCEPTION 'a request begins undecided' USING ERRCODE = 'check_violation';
        END IF;
        IF NEW.expires_at <= clock_timestamp() THEN
            RAISE EXCEPTION 'a request has some time to be decided' USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW IS NOT DISTINCT FROM OLD THEN
        RETURN NEW;
    END IF;
    IF ROW(NEW.id, NEW.kind, NEW.subject, NEW.institution_id, NEW.payload, NEW.payload_hash, NEW.effect, NEW.maker, NEW.maker_user_id,
           NEW.reason, NEW.request_id, NEW.created_at, NEW.expires_at)
       IS DISTINCT FROM ROW(OLD.id, OLD.kind, OLD.subject, OLD.institution_id, OLD.payload, OLD.payload_hash, OLD.effect, OLD.maker,
           OLD.maker_user_id, OLD.reason, OLD.request_id, OLD.created_at, OLD.expires_at) THEN
        RAISE EXCEPTION 'request %: what was asked stays as it was asked', OLD.id USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.state = 'APPROVED' AND OLD.result IS NULL AND NEW.result IS NOT NULL AND OLD.checked_at = now()
       AND ROW(NEW.state, NEW.checker, NEW.checker_user_id, NEW.approved_hash, NEW.check_reason, NEW.checked_at)
       IS NOT DISTINCT FROM ROW(OLD.state, OLD.checker, OLD.checker_user_id, OLD.approved_hash, OLD.check_reason, OLD.checked_at) THEN
        RETURN NEW;  -- what came of it, told by the transaction that applied it
    END IF;
    IF OLD.state <> 'PENDING' OR NEW.state = 'PENDING' OR NEW.result IS NOT NULL THEN
        RAISE EXCEPTION 'request % is % and stays so', OLD.id, OLD.state USING ERRCODE = 'restrict_violation';
    END IF;
    NEW.checked_at := now();
    IF NEW.state = 'EXPIRED' THEN
        IF clock_timestamp() < OLD.expires_at THEN
            RAISE EXCEPTION 'request % has time until %', OLD.id, OLD.expires_at USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NEW.state = 'WITHDRAWN' THEN
        IF NEW.checker <> OLD.maker OR NEW.checker_user_id IS DISTINCT FROM OLD.maker_user_id THEN
            RAISE EXCEPTION 'request %: only its maker can take it back', OLD.id USING ERRCODE = 'check_violation';
        END IF;
    ELSE
        IF NEW.checker_user_id IS NULL OR NEW.checker_user_id IS NOT DISTINCT FROM OLD.maker_user_id OR NEW.checker = OLD.maker THEN
            RAISE EXCEPTION 'request %: it takes another person than its maker', OLD.id USING ERRCODE = 'check_violation';
        END IF;
        IF NOT EXISTS (SELECT FROM institutions_user u WHERE u.id = NEW.checker_user_id AND u.is_active AND u.institution_id IS NULL) THEN
            RAISE EXCEPTION 'request %: who decides is staff of the platform', OLD.id USING ERRCODE = 'check_violation';
        END IF;
    END IF;
    IF NEW.state = 'APPROVED' THEN
        IF clock_timestamp() >= OLD.expires_at THEN
            RAISE EXCEPTION 'request % expired at %', OLD.id, OLD.expires_at USING ERRCODE = 'check_violation';
        END IF;
        IF NEW.approved_hash IS DISTINCT FROM sha256(convert_to(OLD.payload, 'UTF8')) THEN
            RAISE EXCEPTION 'request %: what was approved is not what was asked', OLD.id USING ERRCODE = 'check_violation';
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER request_check BEFORE INSERT OR UPDATE ON institutions_changerequest FOR EACH ROW
    EXECUTE FUNCTION institutions_changerequest_check();
SELECT exchange_keep('institutions_changerequest', 'id');
SELECT exchange_tenant_policy('institutions_changerequest',
    $$ current_setting('exchange.institution', true) IN ('all', institution_id::text) $$);

-- Whether this transaction has approved a request of that kind about that subject. `now()` is its beginning, and nobody else's.
CREATE FUNCTION institutions_approved_now(of_kind text, about text) RETURNS boolean LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM institutions_changerequest r
                   WHERE r.kind = of_kind AND r.subject = about AND r.state = 'APPROVED' AND r.checked_at = now())
$$;

CREATE FUNCTION institutions_refuse_unfreeze() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    what text := TG_ARGV[0];
    about text;
BEGIN
    IF what = 'platform' THEN
        about := 'platform';
    ELSIF what = 'account' THEN
        about := 'account:' || NEW.name;
    ELSE
        about := 'institution:' || NEW.code;
    END IF;
    IF NOT institutions_approved_now(what || '.unfreeze', about) THEN
        RAISE EXCEPTION '%: unfreezing takes an approved request', about USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER account_unfreeze BEFORE UPDATE OF is_frozen ON institutions_account FOR EACH ROW
    WHEN (OLD.is_frozen AND NOT NEW.is_frozen) EXECUTE FUNCTION institutions_refuse_unfreeze('account');
CREATE TRIGGER institution_unfreeze BEFORE UPDATE OF is_frozen ON institutions_institution FOR EACH ROW
    WHEN (OLD.is_frozen AND NOT NEW.is_frozen) EXECUTE FUNCTION institutions_refuse_unfreeze('institution');
CREATE TRIGGER platform_unfreeze BEFORE UPDATE OF is_frozen ON institutions_platform FOR EACH ROW
    WHEN (OLD.is_frozen AND NOT NEW.is_frozen) EXECUTE FUNCTION institutions_refuse_unfreeze('platform');

CREATE FUNCTION institutions_refuse_scopes() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT institutions_approved_now('api_key.scopes', 'api_key:' || NEW.key) THEN
        RAISE EXCEPTION 'key %: more scopes take an approved request', NEW.key USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER apikey_scopes BEFORE UPDATE OF scopes ON institutions_apikey FOR EACH ROW
    WHEN (NOT NEW.scopes <@ OLD.scopes) EXECUTE FUNCTION institutions_refuse_scopes();
"""

REVERSE = """
DROP TRIGGER apikey_scopes ON institutions_apikey;
DROP FUNCTION institutions_refuse_scopes();
DROP TRIGGER platform_unfreeze ON institutions_platform;
DROP TRIGGER institution_unfreeze ON institutions_institution;
DROP TRIGGER account_unfreeze ON institutions_account;
DROP FUNCTION institutions_refuse_unfreeze();
DROP FUNCTION institutions_approved_now(text, text);
DROP POLICY tenant ON institutions_changerequest;
DROP POLICY engine ON institutions_changerequest;
ALTER TABLE institutions_changerequest NO FORCE ROW LEVEL SECURITY;
ALTER TABLE institutions_changerequest DISABLE ROW LEVEL SECURITY;
SELECT exchange_keep_no_longer('institutions_changerequest');
DROP TRIGGER request_check ON institutions_changerequest;
DROP FUNCTION institutions_changerequest_check();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('institutions', '0004_audit_search'),
    ]

    operations = [
        migrations.CreateModel(
            name='ChangeRequest',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(max_length=40)),
                ('subject', models.CharField(max_length=120)),
                ('payload', models.TextField()),
                ('payload_hash', models.BinaryField()),
                ('effect', models.JSONField()),
                ('maker', models.CharField(max_length=80)),
                ('reason', models.TextField()),
                ('request_id', models.CharField(blank=True, default='', max_length=40)),
                ('created_at', models.DateTimeField()),
                ('expires_at', models.DateTimeField()),
                ('state', models.CharField(choices=[('PENDING', 'Pending'), ('APPROVED', 'Approved'), ('REJECTED', 'Rejected'), ('WITHDRAWN', 'Withdrawn'), ('EXPIRED', 'Expired')], default='PENDING', max_length=10)),
                ('checker', models.CharField(blank=True, default='', max_length=80)),
                ('approved_hash', models.BinaryField(null=True)),
                ('check_reason', models.TextField(blank=True, default='')),
                ('checked_at', models.DateTimeField(null=True)),
                ('result', models.JSONField(null=True)),
                ('checker_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('institution', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, to='institutions.institution')),
                ('maker_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('state', 'PENDING')), fields=['expires_at'], name='request_pending_by_expiry'), models.Index(fields=['kind', 'subject', 'id'], name='request_by_subject')],
                'constraints': [models.CheckConstraint(condition=models.Q(('state__in', ['PENDING', 'APPROVED', 'REJECTED', 'WITHDRAWN', 'EXPIRED'])), name='request_state_known'), models.CheckConstraint(condition=models.Q(('state', 'PENDING'), ('checked_at__isnull', False), _connector='OR'), name='request_end_has_a_time'), models.UniqueConstraint(condition=models.Q(('state', 'PENDING')), fields=('kind', 'subject', 'payload_hash'), name='request_pending_once')],
            },
        ),
        migrations.RunSQL(SQL, REVERSE),
    ]
