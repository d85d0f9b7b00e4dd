from django.contrib.admin.apps import AdminConfig


class BackOfficeConfig(AdminConfig):
    default_site = "exchange_platform.back_office.site.BackOfficeSite"
