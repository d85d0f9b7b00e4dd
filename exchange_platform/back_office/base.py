"""The page classes of the admin. They read; whatever changes something is an `Operation` and goes through a service.

Nobody adds, changes or deletes a row by hand, a superuser neither: Django's own forms are switched off as a whole.
"""

from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.cache import add_never_cache_headers
from psycopg import errors as pg
from unfold.admin import ModelAdmin

from exchange_platform.back_office.listing import Column, Facts, Filters, Listed, Table, newest, whole_number
from exchange_platform.back_office.operations import Operation, Shown, added_operations
from exchange_platform.back_office.panels import panels_of
from exchange_platform.errors import ExchangeError


def list_response(
    request: HttpRequest,
    context: dict[str, Any],
    *,
    columns: Sequence[Column],
    form: Filters,
    listed: Listed,
    empty: str,
) -> TemplateResponse:
    """A list as a page. `context`: of the site, with a title."""
    query = request.GET.copy()
    query.pop("before", None)
    first = query.urlencode()
    older = ""
    if listed.older is not None:
        query["before"] = listed.older
        older = query.urlencode()
    rows = [[(column.cell(row), column.numeric, column.title) for column in columns] for row in listed.rows]
    is_filtered = any(request.GET.get(name) for name in form.fields)
    return TemplateResponse(
        request,
        "back_office/list.html",
        {
            **context,
            "columns": columns,
            "rows": rows,
            "filters": form,
            "is_filtered": is_filtered,
            "is_first": "before" not in request.GET,
            "first": first,
            "older": older,
            "note": listed.note,
            "empty": empty,
        },
    )


class Reader(ModelAdmin):
    """Lists and pages of one model, read-only, with operations.

    `read_right`: whoever has it may look. `alias`: the database role that reads; `tenant` is bound by row-level security.
    """

    read_right: ClassVar[str] = "back_office"
    alias: ClassVar[str] = "tenant"
    columns: ClassVar[Sequence[Column]] = ()
    filters: ClassVar[type[Filters]] = Filters
    related: ClassVar[Sequence[str]] = ()
    operations: ClassVar[Sequence[Operation]] = ()
    makers: ClassVar[Sequence[Operation]] = ()
    plural: ClassVar[str] = ""
    empty: ClassVar[str] = "There is nothing here yet."
    actions = None

    # -- who may

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_active and bool(request.user.has_perm(self.read_right))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # -- what is read

    def rows(self, request: HttpRequest) -> Any:
        """What the person may see, as a queryset."""
        return self.model._default_manager.using(self.alias).select_related(*self.related)

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        """A page of the list. `question`: the filters that are set, and `before`, where the last page ended."""
        return newest(self.rows(request), whole_number(question.get("before")))

    def load(self, request: HttpRequest, object_id: str) -> Any:
        """The row, or None: not there, or not for this person."""
        pk = whole_number(object_id)
        return None if pk is None else self.rows(request).filter(pk=pk).first()

    def facts(self, request: HttpRequest, row: Any) -> Sequence[Facts]:
        raise NotImplementedError

    def tables(self, request: HttpRequest, row: Any) -> Sequence[Table]:
        return []

    def all_operations(self) -> Sequence[Operation]:
        """The room's own and those of the rooms above it."""
        return [*self.operations, *added_operations(f"{self.opts.app_label}.{self.opts.model_name}")]

    def title_of(self, row: Any) -> str:
        return str(row)

    def prepare(self, request: HttpRequest, form: Filters) -> None:
        """Fill in choices that depend on who asks."""

    # -- pages

    def get_urls(self) -> list[URLPattern]:
        label = f"{self.opts.app_label}_{self.opts.model_name}"
        wrap = self.admin_site.admin_view
        return [
            path("", wrap(self.changelist_view), name=f"{label}_changelist"),
            path("do/<slug:name>/", wrap(self.operation_view), name=f"{label}_make"),
            path("<path:object_id>/do/<slug:name>/", wrap(self.operation_view), name=f"{label}_do"),
            path("<path:object_id>/change/", wrap(self.change_view), name=f"{label}_change"),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        self._check(request)
        form = self.filters(request.GET)
        self.prepare(request, form)
        question = {**form.question, "before": request.GET.get("before")} if form.is_valid() else {}
        listed = self.find(request, question) if form.is_valid() else Listed([])
        context = self._context(request, title=self._plural())
        context["buttons"] = self._buttons(request, self.makers, None)
        return list_response(request, context, columns=self.columns, form=form, listed=listed, empty=self.empty)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self._row(request, object_id)
        label = f"{self.opts.app_label}.{self.opts.model_name}"
        context = self._context(request, title=self.title_of(row))
        context["facts"] = self.facts(request, row)
        context["tables"] = [*(panel(request, row) for panel in panels_of(label)), *self.tables(request, row)]
        context["buttons"] = self._buttons(request, self.all_operations(), row)
        return TemplateResponse(request, "back_office/detail.html", context)

    def operation_view(self, request: HttpRequest, name: str, object_id: str | None = None) -> HttpResponse:
        row = None if object_id is None else self._row(request, object_id)
        self._check(request)
        offered = self.makers if object_id is None else self.all_operations()
        operation = next((offer for offer in offered if offer.name == name), None)
        if operation is None or not operation.is_offered(row):
            raise Http404
        if not request.user.has_perm(operation.right):
            raise PermissionDenied
        form = operation.form(request.POST if request.method == "POST" else None, initial=operation.initial(request, row))
        operation.prepare(request, form, row)
        if request.method == "POST" and form.is_valid():
            answer = self._run(request, operation, row, form)
            if answer is not None:
                return answer
        context = self._context(request, title=operation.title)
        context.update(subject="" if row is None else self.title_of(row), operation=operation, form=form, back=self._back(object_id))
        context["effects"] = operation.effect(request, row)
        return TemplateResponse(request, "back_office/operation.html", context)

    def _run(self, request: HttpRequest, operation: Operation, row: Any, form: Form) -> HttpResponse | None:
        """The answer, or None when it was refused: the form then says why."""
        try:
            said = operation.run(request, row, form.cleaned_data)
        except ExchangeError as refusal:
            form.add_error(refusal.field if refusal.field in form.fields else None, str(refusal))
            return None
        except ValueError as refusal:
            form.add_error(None, str(refusal))
            return None
        except OperationalError as error:
            if not isinstance(error.__cause__, pg.LockNotAvailable | pg.QueryCanceled | pg.DeadlockDetected):
                raise
            form.add_error(None, "The system is busy: somebody else holds what this needs. Nothing was done; ask again.")
            return None
        back = self._back(None if row is None else str(row.pk))
        if isinstance(said, Shown):
            context = self._context(request, title=operation.title)
            response: HttpResponse = TemplateResponse(request, "back_office/shown.html", {**context, "shown": dict(said), "back": back})
            add_never_cache_headers(response)
            return response
        messages.success(request, said)
        return HttpResponseRedirect(back)

    def _back(self, object_id: str | None) -> str:
        label = f"admin:{self.opts.app_label}_{self.opts.model_name}"
        return reverse(f"{label}_changelist") if object_id is None else reverse(f"{label}_change", args=[object_id])

    def _buttons(self, request: HttpRequest, operations: Sequence[Operation], row: Any) -> list[dict[str, Any]]:
        label = f"admin:{self.opts.app_label}_{self.opts.model_name}"
        return [
            {
                "title": operation.title,
                "is_dangerous": operation.is_dangerous,
                "url": reverse(f"{label}_make", args=[operation.name])
                if row is None
                else reverse(f"{label}_do", args=[str(row.pk), operation.name]),
            }
            for operation in operations
            if request.user.has_perm(operation.right) and operation.is_offered(row)
        ]

    def _check(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _row(self, request: HttpRequest, object_id: str) -> Any:
        self._check(request)
        row = self.load(request, object_id)
        if row is None:
            raise Http404(f"There is no such {self.opts.verbose_name}, or not for you.")
        return row

    def _context(self, request: HttpRequest, *, title: str) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "title": title, "list_title": self._plural(), "list_url": self._back(None)}

    def _plural(self) -> str:
        return self.plural or str(self.opts.verbose_name_plural).capitalize()


def as_uuid(text: str | None) -> UUID | None:
    """An id that somebody may have typed, with or without dashes; null when it is none."""
    try:
        return UUID(text) if text and len(text) in (32, 36) else None
    except ValueError:
        return None
